//! PIIX4's power management as a function: by it firmware learns where [`crate::acpi_pm`] is.
//!
//! The block does not move: the register that says where it is cannot be written, and says so where firmware
//! would choose. System management mode is said to be set up already, so that firmware leaves it alone.
//! Spec: Intel 82371AB (PIIX4) datasheet, "Power Management PCI Configuration Registers (Function 3)".

use super::{INTEL, SUBSYSTEM, SUBSYSTEM_VENDOR, restore, save};
use crate::acpi_pm::PORTS;
use crate::pci::{ConfigSpace, Identity, PciFunction};
use crate::{DeviceState, RestoreError};

const KIND: &str = "piix4-pm";
const VERSION: u16 = 1;

const IDENTITY: Identity = Identity {
    vendor: INTEL,
    device: 0x7113,
    subsystem_vendor: SUBSYSTEM_VENDOR,
    subsystem: SUBSYSTEM,
    class: 0x06_80_00,
    revision: 3,
};

const PM_BASE: u8 = 0x40;
/// In a base register: it is one of ports.
const IO: u8 = 1;
/// Device activity B, in whose last byte APMC_EN lies.
const DEVICE_ACTIVITY_B: u8 = 0x58;
const APMC_ENABLE: u8 = 1 << 1;
const PM_MISC: u8 = 0x80;
const PM_ENABLE: u8 = 1;
const SMBUS_BASE: u8 = 0x90;
const SMBUS_CONTROL: u8 = 0xd2;

#[derive(Debug)]
pub struct Piix4Pm {
    config: ConfigSpace,
}

impl Piix4Pm {
    #[must_use]
    pub fn new() -> Piix4Pm {
        let [low, high] = PORTS[0].first.to_le_bytes();
        let config = ConfigSpace::new(&IDENTITY)
            .with_interrupt_pin(1)
            .with_register(PM_BASE, &[low | IO, high, 0, 0], &[0; 4])
            .with_register(DEVICE_ACTIVITY_B, &[0, 0, 0, APMC_ENABLE], &[0xff; 4])
            .with_register(PM_MISC, &[PM_ENABLE], &[0])
            // An SMBus host would be there; nobody answers.
            .with_register(SMBUS_BASE, &[IO, 0, 0, 0], &[0xf0, 0xff, 0, 0])
            .with_register(SMBUS_CONTROL, &[0], &[0x0f]);
        Piix4Pm { config }
    }
}

impl Default for Piix4Pm {
    fn default() -> Piix4Pm {
        Piix4Pm::new()
    }
}

impl PciFunction for Piix4Pm {
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
        save(KIND, VERSION, &self.config)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        restore(KIND, VERSION, &mut self.config, state)
    }
}
