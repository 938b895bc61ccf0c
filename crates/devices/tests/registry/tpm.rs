//! A TPM, whose commands a stand-in does.

use devices::Device;
use devices::tpm::{Backend, Blobs, FAILURE, Tpm, TpmError};
use devices::virtio::Doorbell;

use crate::Entry;

#[derive(Debug, Default)]
struct Chip(Blobs);

impl Backend for Chip {
    fn power_on(&mut self) -> Result<(), TpmError> {
        self.0.volatile.clear();
        Ok(())
    }

    fn execute(&mut self, command: &[u8], _: &Doorbell) -> Result<Vec<u8>, TpmError> {
        self.0.volatile = command.to_vec();
        Ok(FAILURE.to_vec())
    }

    fn save(&mut self) -> Result<Blobs, TpmError> {
        Ok(self.0.clone())
    }

    fn restore(&mut self, blobs: &Blobs) -> Result<(), TpmError> {
        self.0 = blobs.clone();
        Ok(())
    }

    fn power_off(&mut self) {}
}

pub(crate) fn entries() -> Vec<Entry> {
    vec![Entry {
        kind: "tpm",
        make: || Box::new(Tpm::new(Chip::default()).unwrap()),
        change: |device: &mut dyn Device| {
            for (at, value) in [(0x08, 1), (0x40, 1), (0x84, 0x0a00), (0x4c, 1)] {
                device.write(at, 4, value);
            }
            // Waits for the answer.
            device.save();
            device.write(0x48, 4, 1);
        },
    }]
}
