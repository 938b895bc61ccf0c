//! The generation: a number by which a guest learns that it is not the only one who went on from here, or was here
//! before. Its kernel then makes random numbers that no other has.
//!
//! Spec: Microsoft, "Virtual Machine Generation ID", version 1.

use acpi_tables::aml::{Device, Method, Name, Notify, Package, Path, Scope};

use super::FACS;
use super::dsdt::encode;
use crate::ports;

/// Bytes of the number.
pub(crate) const GENERATION_LEN: usize = 16;
const CHANGED: u8 = 0x80;

/// The device, in the system bus's scope, and the event that tells of a change. The number lies at `at`.
pub(super) fn device(at: u64) -> Vec<u8> {
    // Below 4 GiB, as all tables.
    let (low, high) = (at as u32, (at >> 32) as u32);
    encode(&Device::new(
        "VGEN".into(),
        vec![
            &Name::new("_HID".into(), &"VMGENCTR"),
            &Name::new("_CID".into(), &"VM_Gen_Counter"),
            &Name::new("_DDN".into(), &"VM_Gen_Counter"),
            &Name::new("ADDR".into(), &Package::new(vec![&low, &high])),
        ],
    ))
}

pub(super) fn event() -> Vec<u8> {
    let (name, device) = (
        format!("_E{:02X}", ports::GENERATION_EVENT),
        Path::new("\\_SB_.VGEN"),
    );
    let tell = Notify::new(&device, &CHANGED);
    let method = Method::new(Path::new(&name), 0, false, vec![&tell]);
    encode(&Scope::new("\\_GPE".into(), vec![&method]))
}

/// Where the number is: behind the FACS, in memory that no guest takes for its own.
pub(crate) const GENERATION: memory::Gpa = memory::Gpa(FACS.0 + super::acpi::ALIGN);
