//! Drives whose medium is changed from outside while the guest runs, and the tray of a CD-ROM drive.

use std::fmt::Debug;
use std::sync::Arc;

use block::BlockDevice;
use serde::{Deserialize, Serialize};

use super::Sense;

/// How a drive stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriveReport {
    /// There is a medium in it, perhaps on an open tray.
    pub medium: bool,
    /// Its tray is out.
    pub open: bool,
    /// The guest holds the medium.
    pub locked: bool,
}

/// A drive whose medium is changed by whoever runs the machine.
pub trait RemovableDrive: Send + Sync + Debug {
    fn report(&self) -> DriveReport;

    /// Opens the tray. Of one that the guest holds only by `force`: else the guest is asked to let go of it. Answers
    /// whether it is open; a drive without a tray always is.
    fn open(&self, force: bool) -> bool;

    /// Closes the tray.
    fn close(&self);

    /// Puts a medium in, in place of the one there is, or takes it out. False for a medium that is none for such a
    /// drive: nothing has changed then. What was written to the one before is on it.
    fn change(&self, medium: Option<Arc<dyn BlockDevice>>) -> bool;
}

/// What a CD-ROM drive remembers.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tray {
    /// What the next REQUEST SENSE answers.
    pub(crate) sense: Sense,
    /// It has got another disc, of which nobody has been told yet.
    pub(crate) changed: bool,
    /// The guest has the disc locked in.
    pub(crate) locked: bool,
    /// The disc lies outside.
    pub(crate) open: bool,
    /// Somebody outside has asked for the disc, and the guest has not been told. Not saved: who asked asks again.
    #[serde(skip)]
    pub(crate) asked: bool,
}

impl Tray {
    /// As [`RemovableDrive::open`].
    pub(crate) fn open(&mut self, force: bool) -> bool {
        if self.open {
            return true;
        }
        if self.locked && !force {
            self.asked = true;
            return false;
        }
        self.asked = false;
        self.locked = false;
        self.open = true;
        true
    }

    pub(crate) fn close(&mut self, has_disc: bool) {
        self.changed |= self.open && has_disc;
        self.open = false;
    }

    pub(crate) fn report(&self, medium: bool) -> DriveReport {
        DriveReport {
            medium,
            open: self.open,
            locked: self.locked,
        }
    }
}
