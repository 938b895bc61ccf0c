//! A CD-ROM drive as whoever changes its discs sees it.

use std::sync::Arc;

use block::BlockDevice;

use super::state::DriveState;
use super::{Channels, Drive};
use crate::ports::locked;
use crate::scsi::{DriveReport, RemovableDrive};

#[derive(Debug)]
pub struct IdeTray {
    channels: Channels,
    channel: usize,
    unit: usize,
}

impl IdeTray {
    pub(super) fn new(channels: Channels, channel: usize, unit: usize) -> IdeTray {
        IdeTray {
            channels,
            channel,
            unit,
        }
    }

    /// What is in the drive, and what the drive remembers; `None` where no such drive is.
    fn with<T>(
        &self,
        act: impl FnOnce(&mut Option<Arc<dyn BlockDevice>>, &mut DriveState) -> T,
    ) -> Option<T> {
        let mut channels = locked(&self.channels);
        let channel = channels.get_mut(self.channel)?;
        let Some(Some(Drive::Cd(disc))) = channel.drives.get_mut(self.unit) else {
            return None;
        };
        Some(act(disc, channel.state.drives.get_mut(self.unit)?))
    }
}

impl RemovableDrive for IdeTray {
    fn report(&self) -> DriveReport {
        let report = self.with(|disc, state| state.tray.report(disc.is_some()));
        report.unwrap_or(DriveReport {
            medium: false,
            open: false,
            locked: false,
        })
    }

    fn open(&self, force: bool) -> bool {
        self.with(|_, state| state.tray.open(force)) == Some(true)
    }

    fn close(&self) {
        self.with(|disc, state| state.tray.close(disc.is_some()));
    }

    fn change(&self, medium: Option<Arc<dyn BlockDevice>>) -> bool {
        let changed = self.with(|disc, state| {
            *disc = medium;
            state.tray.changed = true;
        });
        changed.is_some()
    }
}
