//! A VGA on the PCI bus, alone in its function. Spec: QEMU documentation, "Standard VGA".

use memory::DeviceMemory;
use serde::{Deserialize, Serialize};

use super::SharedVga;
use super::face::{FRAME_BUFFER, Face, RomError, SavedFace};
use crate::pci::{ConfigSpace, ConfigState, Identity, PciFunction};
use crate::{DeviceState, RestoreError, decode_state, encode_state};

const KIND: &str = "vga";
const VERSION: u16 = 1;

const IDENTITY: Identity = Identity {
    vendor: 0x1234,
    device: 0x1111,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1100,
    class: 0x03_00_00,
    revision: 2,
};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct VgaStateV1 {
    config: ConfigState,
    face: SavedFace,
}

#[derive(Debug)]
pub struct VgaFunction {
    config: ConfigSpace,
    face: Face,
}

impl VgaFunction {
    /// With an option ROM, or none where it is empty.
    ///
    /// # Errors
    /// When it is no option ROM.
    pub fn new(vga: SharedVga, rom: Vec<u8>) -> Result<VgaFunction, RomError> {
        let face = Face::new(vga, rom)?;
        let config = face.declare(ConfigSpace::new(&IDENTITY));
        Ok(VgaFunction { config, face })
    }

    /// The frame buffer.
    #[cfg(test)]
    pub(super) fn vram(&self) -> &DeviceMemory {
        self.face.vram()
    }
}

impl PciFunction for VgaFunction {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_write(&mut self, offset: u16, size: u8, value: u32) {
        self.config.write(offset, size, value);
    }

    fn bar_read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        self.face.read(bar, offset, size)
    }

    fn bar_write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        self.face.write(bar, offset, size, value);
    }

    fn memories(&self) -> Vec<(u8, DeviceMemory)> {
        vec![(FRAME_BUFFER, self.face.vram().clone())]
    }

    fn reset(&mut self) {
        self.config.reset();
        self.face.reset();
    }

    fn save(&self) -> DeviceState {
        let state = VgaStateV1 {
            config: self.config.save(),
            face: self.face.save(),
        };
        encode_state(KIND, VERSION, &state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let state: VgaStateV1 = decode_state(KIND, VERSION, state)?;
        let damaged = |what: String| RestoreError::Damaged {
            kind: KIND.into(),
            what,
        };
        self.face.check(&state.face).map_err(damaged)?;
        self.config.restore(&state.config).map_err(damaged)?;
        self.face.restore(state.face);
        Ok(())
    }
}
