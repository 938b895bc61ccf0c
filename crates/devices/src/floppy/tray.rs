//! The floppy drive as whoever changes its disks sees it. It has no tray, and nothing holds a disk in it.

use std::sync::{Arc, Mutex};

use block::BlockDevice;

use super::Floppy;
use crate::ports::locked;
use crate::scsi::{DriveReport, RemovableDrive};

#[derive(Debug)]
pub struct FloppyTray(pub Arc<Mutex<Floppy>>);

impl RemovableDrive for FloppyTray {
    fn report(&self) -> DriveReport {
        DriveReport {
            medium: locked(&self.0).disk.is_some(),
            open: false,
            locked: false,
        }
    }

    fn open(&self, _force: bool) -> bool {
        true
    }

    fn close(&self) {}

    fn change(&self, medium: Option<Arc<dyn BlockDevice>>) -> bool {
        locked(&self.0).change_disk(medium)
    }
}
