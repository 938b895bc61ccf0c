//! The chipset that firmware of the PC's knows: an i440FX host bridge, and the PIIX3 with its ISA bridge and
//! PIIX4's power management.

mod i440fx;
mod piix3;
mod piix4_pm;
mod pirq;

pub use i440fx::{I440fx, SEGMENTS, Segment, Shadow, ShadowMap};
pub use piix3::Piix3;
pub use piix4_pm::Piix4Pm;
pub use pirq::PirqRouter;

use crate::pci::{ConfigSpace, ConfigState};
use crate::{DeviceState, RestoreError, decode_state, encode_state};

const INTEL: u16 = 0x8086;
/// By these firmware knows that the machine is a virtual one and has fw_cfg.
/// Spec: QEMU docs/specs/pci-ids.rst.
const SUBSYSTEM_VENDOR: u16 = 0x1af4;
const SUBSYSTEM: u16 = 0x1100;

fn save(kind: &str, version: u16, config: &ConfigSpace) -> DeviceState {
    encode_state(kind, version, &config.save())
}

fn restore(
    kind: &str,
    version: u16,
    config: &mut ConfigSpace,
    state: &DeviceState,
) -> Result<(), RestoreError> {
    let saved: ConfigState = decode_state(kind, version, state)?;
    config
        .restore(&saved)
        .map_err(|what| RestoreError::Damaged {
            kind: kind.into(),
            what,
        })
}
