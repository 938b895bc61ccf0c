//! Drives whose media are changed while the guest runs, for whoever asks from another thread.

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, Weak};

use block::BlockDevice;
use devices::{DriveReport, Line, RemovableDrive};

use super::{MachineControl, Shared};
use crate::MachineError;
use crate::sync::lock;

/// The drives of one machine, by name.
#[derive(Debug, Default)]
pub(super) struct Media(Mutex<Vec<(String, Arc<dyn RemovableDrive>)>>);

impl Media {
    pub(super) fn disconnect(&self) {
        lock(&self.0).clear();
    }
}

/// Rings when the guest moves a tray, while somebody has the machine: who has the machine has its drives, and they have
/// this.
struct TrayBell(Weak<Shared>);

impl Debug for TrayBell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrayBell").finish_non_exhaustive()
    }
}

impl Line for TrayBell {
    fn set(&self, _high: bool) {
        if let Some(shared) = self.0.upgrade() {
            MachineControl { shared }.tell_news();
        }
    }
}

impl MachineControl {
    /// Drives and how they stand. [`MachineControl::news`] tells when the guest has moved a tray.
    #[must_use]
    pub fn media(&self) -> Vec<(String, DriveReport)> {
        let drives = lock(&self.shared.media.0).clone();
        let all = drives.into_iter();
        all.map(|(id, drive)| (id, drive.report())).collect()
    }

    /// Opens the tray of a drive; where the guest holds the medium, only by `force`: else the guest is asked to let
    /// go of it. Answers whether it is open.
    ///
    /// # Errors
    /// When there is no such drive.
    pub fn open_tray(&self, id: &str, force: bool) -> Result<bool, MachineError> {
        Ok(self.drive(id)?.open(force))
    }

    /// # Errors
    /// When there is no such drive.
    pub fn close_tray(&self, id: &str) -> Result<(), MachineError> {
        self.drive(id)?.close();
        Ok(())
    }

    /// Puts a medium into a drive, or takes out what is in it.
    ///
    /// # Errors
    /// When there is no such drive, or the medium is none for it.
    pub fn change_medium(
        &self,
        id: &str,
        medium: Option<Arc<dyn BlockDevice>>,
    ) -> Result<(), MachineError> {
        let drive = self.drive(id)?;
        if drive.change(self.counted_medium(id, medium)) {
            return Ok(());
        }
        Err(MachineError::NoMedium { id: id.to_owned() })
    }

    fn drive(&self, id: &str) -> Result<Arc<dyn RemovableDrive>, MachineError> {
        let drives = lock(&self.shared.media.0);
        let found = drives.iter().find(|(name, _)| name == id);
        let found = found.map(|(_, drive)| Arc::clone(drive));
        found.ok_or_else(|| MachineError::NoDrive { id: id.to_owned() })
    }

    pub(crate) fn connect_drive(&self, id: &str, drive: Arc<dyn RemovableDrive>) {
        lock(&self.shared.media.0).push((id.to_owned(), drive));
    }

    /// What a drive tells when the guest moves its tray.
    pub(crate) fn tray_bell(&self) -> Arc<dyn Line> {
        Arc::new(TrayBell(Arc::downgrade(&self.shared)))
    }
}
