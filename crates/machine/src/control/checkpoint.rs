//! What a running machine's disks write down of their changes, for whoever backs them up.

use std::ops::Range;

use block::Checkpoint;

use super::MachineControl;
use crate::MachineError;

impl MachineControl {
    /// As [`block::BlockDevice::checkpoint`], of the disk of this number in the machine's description. `None` where
    /// the machine does not run, and for a device that asks in the middle of an access.
    #[must_use]
    pub fn checkpoint(
        &self,
        number: usize,
        checkpoint: Checkpoint,
    ) -> Option<Result<Option<Vec<Range<u64>>>, MachineError>> {
        self.aside(false, move |machine| {
            machine.checkpoint(number, &checkpoint)
        })
    }
}
