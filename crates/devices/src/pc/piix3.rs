//! The ISA bridge: where PCI's interrupts go. Spec: Intel 82371SB (PIIX3) datasheet, "PCI Configuration
//! Registers, Function 0".

use std::sync::Arc;

use super::{INTEL, PirqRouter, SUBSYSTEM, SUBSYSTEM_VENDOR, restore, save};
use crate::pci::{ConfigSpace, Identity, PciFunction};
use crate::{DeviceState, RestoreError};

const KIND: &str = "piix3";
const VERSION: u16 = 1;

const IDENTITY: Identity = Identity {
    vendor: INTEL,
    device: 0x7000,
    subsystem_vendor: SUBSYSTEM_VENDOR,
    subsystem: SUBSYSTEM,
    class: 0x06_01_00,
    revision: 0,
};

const PIRQ_ROUTES: u8 = 0x60;
/// Routing off, and an interrupt.
const ROUTE_BITS: u8 = 0x8f;
const ROUTE_OFF: u8 = 0x80;

#[derive(Debug)]
pub struct Piix3 {
    config: ConfigSpace,
    router: Arc<PirqRouter>,
}

impl Piix3 {
    #[must_use]
    pub fn new(router: Arc<PirqRouter>) -> Piix3 {
        let config = ConfigSpace::new(&IDENTITY)
            .with_multifunction()
            .with_register(PIRQ_ROUTES, &[ROUTE_OFF; 4], &[ROUTE_BITS; 4])
            // X-bus chip select, top of memory: written and read, without effect.
            .with_register(0x4c, &[0x4d, 0, 0x03, 0], &[0xff; 4])
            .with_register(0x69, &[0x02], &[0xff])
            .with_register(0x80, &[0; 3], &[0xff; 3]);
        Piix3 { config, router }
    }

    fn route(&self) {
        let route = |index| self.config.byte(PIRQ_ROUTES + index);
        self.router.route([route(0), route(1), route(2), route(3)]);
    }
}

impl PciFunction for Piix3 {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_write(&mut self, offset: u16, size: u8, value: u32) {
        self.config.write(offset, size, value);
        self.route();
    }

    fn reset(&mut self) {
        self.config.reset();
        self.route();
    }

    fn save(&self) -> DeviceState {
        save(KIND, VERSION, &self.config)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        restore(KIND, VERSION, &mut self.config, state)?;
        self.route();
        Ok(())
    }
}
