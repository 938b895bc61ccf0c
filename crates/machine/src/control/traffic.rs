//! What a machine's disks, drives and network cards have carried, for whoever asks from another thread.

use std::sync::Arc;

use block::{BlockDevice, Counted};
use devices::virtio::NetHandle;

use super::MachineControl;
use crate::sync::lock;

/// By id, in the order in which they came. What has gone stays until another of its id comes.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    disks: Vec<(String, Arc<block::Traffic>)>,
    /// Drives with what lies in them.
    drives: Vec<(String, Arc<block::Traffic>)>,
    cards: Vec<(String, Arc<netio::Traffic>)>,
    /// Of cards of virtio.
    handles: Vec<(String, Arc<NetHandle>)>,
}

fn enter<T>(list: &mut Vec<(String, Arc<T>)>, id: &str, traffic: &Arc<T>) {
    let traffic = Arc::clone(traffic);
    match list.iter_mut().find(|(known, _)| known == id) {
        Some(place) => place.1 = traffic,
        None => list.push((id.to_owned(), traffic)),
    }
}

impl MachineControl {
    pub(crate) fn count_disk(&self, id: &str, disk: &Arc<block::Traffic>) {
        enter(&mut lock(&self.shared.traffic).disks, id, disk);
    }

    pub(crate) fn count_card(&self, id: &str, card: &Arc<netio::Traffic>) {
        enter(&mut lock(&self.shared.traffic).cards, id, card);
    }

    /// The card hears when something changes that decides on its frames.
    pub(crate) fn watch_card(&self, id: &str, card: NetHandle) {
        let handles = &mut lock(&self.shared.traffic).handles;
        enter(handles, id, &Arc::new(card));
    }

    pub(super) fn forget_cards(&self) {
        lock(&self.shared.traffic).handles.clear();
    }

    /// Rules or limits have changed.
    pub(super) fn wake_cards(&self) {
        for (_, card) in &lock(&self.shared.traffic).handles {
            card.wake();
        }
    }

    /// What lies in a drive, as its guest has it. Counted for the drive, whatever lies in it by and by.
    pub(crate) fn counted_medium(
        &self,
        drive: &str,
        medium: Option<Arc<dyn BlockDevice>>,
    ) -> Option<Arc<dyn BlockDevice>> {
        let drives = &mut lock(&self.shared.traffic).drives;
        if !drives.iter().any(|(known, _)| known == drive) {
            enter(drives, drive, &Arc::default());
        }
        let (_, traffic) = drives.iter().find(|(known, _)| known == drive)?;
        Some(Arc::new(Counted::new(medium?, Arc::clone(traffic))))
    }

    /// What disks have carried since they were opened, and drives since the machine began, by id: drives come last.
    /// Counting goes on.
    #[must_use]
    pub fn disk_traffic(&self) -> Vec<(String, Arc<block::Traffic>)> {
        let traffic = lock(&self.shared.traffic);
        let all = traffic.disks.iter().chain(&traffic.drives);
        all.cloned().collect()
    }

    /// What network cards have carried since they were plugged in, by id. Counting goes on.
    #[must_use]
    pub fn card_traffic(&self) -> Vec<(String, Arc<netio::Traffic>)> {
        lock(&self.shared.traffic).cards.clone()
    }
}
