//! The host bridge, function 00.0: only there to be found.
//! Spec: PCI Local Bus Specification 3.0, "Class Codes".

use crate::pci::{ConfigSpace, ConfigState, Identity, PciFunction};
use crate::{DeviceState, RestoreError, decode_state, encode_state};

const KIND: &str = "pci-host-bridge";
const VERSION: u16 = 1;

/// The id that Intel set aside for host bridges of virtual machines.
const IDENTITY: Identity = Identity {
    vendor: 0x8086,
    device: 0x0d57,
    subsystem_vendor: 0,
    subsystem: 0,
    class: 0x06_00_00,
    revision: 0,
};

#[derive(Debug)]
pub struct HostBridge {
    config: ConfigSpace,
}

impl HostBridge {
    #[must_use]
    pub fn new() -> HostBridge {
        HostBridge {
            config: ConfigSpace::new(&IDENTITY),
        }
    }
}

impl Default for HostBridge {
    fn default() -> HostBridge {
        HostBridge::new()
    }
}

impl PciFunction for HostBridge {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_write(&mut self, offset: u16, size: u8, value: u32) {
        self.config.write(offset, size, value);
    }

    fn reset(&mut self) {
        self.config.reset();
    }

    fn save(&self) -> DeviceState {
        encode_state(KIND, VERSION, &self.config.save())
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let config: ConfigState = decode_state(KIND, VERSION, state)?;
        self.config
            .restore(&config)
            .map_err(|what| RestoreError::Damaged {
                kind: KIND.into(),
                what,
            })
    }
}
