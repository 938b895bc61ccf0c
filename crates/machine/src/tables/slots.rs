//! AML of PCI slots whose devices come and go. Spec: ACPI 6.5, "Device Insertion, Removal, and Status
//! Objects"; PCI Firmware Specification, "Hot-Plug".
//!
//! One device has the registers ([`devices::acpi_slots`]). Each slot is a device below the PCI bus, with a
//! method that ejects what is in it; so its driver is the operating system's own. The event runs a method
//! that tells of every slot in which something has come or from which something shall go.

use acpi_tables::Aml;
use acpi_tables::aml::{
    And, Arg, Device, EISAName, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule,
    If, Local, Method, MethodCall, Name, Notify, OpRegion, OpRegionSpace, Path, Scope, Store,
};
use devices::acpi_slots;

use super::dsdt::{Raw, encode};
use crate::ports;

const CONTROLLER: &str = "\\_SB_.PCIH";
/// What a slot is notified of.
const DEVICE_CHECK: u8 = 1;
const EJECT_REQUEST: u8 = 3;

fn of_controller(name: &str) -> Path {
    Path::new(&format!("{CONTROLLER}.{name}"))
}

fn slot_name(slot: u8) -> String {
    format!("S{:02X}_", slot & 0x1f)
}

fn bit(slot: u8) -> u32 {
    1 << (slot & 0x1f)
}

/// The device with the registers, and the event's method.
pub(super) fn controller(slots: &[u8]) -> Vec<u8> {
    let first = ports::SLOTS;
    let length = acpi_slots::PORTS[0].count;
    let register = |name: &[u8; 4]| FieldEntry::Named(*name, 32);
    let mut bytes = encode(&Device::new(
        Path::new(CONTROLLER),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0A06")),
            &Name::new("_UID".into(), &"slots"),
            &OpRegion::new("PHRG".into(), OpRegionSpace::SystemIO, &first, &length),
            &Field::new(
                "PHRG".into(),
                FieldAccessType::DWord,
                FieldLockRule::NoLock,
                FieldUpdateRule::WriteAsZeroes,
                vec![register(b"PCOM"), register(b"PGOE"), register(b"PEJE")],
            ),
            &Raw(tell(slots)),
            &Raw(look()),
        ],
    ));
    let event = format!("_E{:02X}", ports::SLOT_EVENT);
    let call = MethodCall::new(of_controller("LOOK"), vec![]);
    let method = Method::new(Path::new(&event), 0, false, vec![&call]);
    bytes.extend(encode(&Scope::new("\\_GPE".into(), vec![&method])));
    bytes
}

/// `TELL`: notifies all slots of a set.
fn tell(slots: &[u8]) -> Vec<u8> {
    let notify = |&slot: &u8| {
        let name = Path::new(&format!("\\_SB_.PCI0.{}", slot_name(slot)));
        let notify = Notify::new(&name, &Arg(1));
        let bit = bit(slot);
        let set = And::new(&acpi_tables::aml::ZERO, &Arg(0), &bit);
        Raw(encode(&If::new(&set, vec![&notify])))
    };
    let all: Vec<Raw> = slots.iter().map(notify).collect();
    let children = all.iter().map(|one| one as &dyn Aml).collect();
    encode(&Method::new("TELL".into(), 2, true, children))
}

/// `LOOK`: tells of all that has changed. What is seen is said before it is told of, so that what comes
/// meanwhile is told of again.
fn look() -> Vec<u8> {
    let tell = |register: &str, what: u8| {
        let name = Path::new(register);
        let mut bytes = encode(&Store::new(&Local(0), &name));
        bytes.extend(encode(&Store::new(&name, &Local(0))));
        let told = MethodCall::new("TELL".into(), vec![&Local(0), &what]);
        bytes.extend(encode(&told));
        Raw(bytes)
    };
    let (comes, goes) = (tell("PCOM", DEVICE_CHECK), tell("PGOE", EJECT_REQUEST));
    encode(&Method::new("LOOK".into(), 0, true, vec![&comes, &goes]))
}

/// A slot, in the PCI bus's scope.
pub(super) fn slot(slot: u8) -> Vec<u8> {
    let address = u32::from(slot) << 16;
    let (register, bit) = (of_controller("PEJE"), bit(slot));
    let eject = Store::new(&register, &bit);
    encode(&Device::new(
        Path::new(&slot_name(slot)),
        vec![
            &Name::new("_ADR".into(), &address),
            &Name::new("_SUN".into(), &slot),
            &Method::new("_EJ0".into(), 1, false, vec![&eject]),
        ],
    ))
}
