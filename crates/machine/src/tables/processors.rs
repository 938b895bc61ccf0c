//! AML of processors that come and go. Spec: ACPI 6.5, "Processor Devices and Performance States".
//!
//! One device has the registers ([`devices::acpi_cpus`]); each processor's methods ask it. The event
//! runs a method that tells of every processor that has come or shall go.

use acpi_tables::Aml;
use acpi_tables::aml::{
    self, Acquire, Add, Arg, BufferData, Device, EISAName, Equal, Field, FieldAccessType,
    FieldEntry, FieldLockRule, FieldUpdateRule, If, LessThan, Local, Method, MethodCall, Mutex,
    Name, Notify, OpRegion, OpRegionSpace, Path, Release, Return, Scope, Store, While,
};
use devices::acpi_cpus;

use super::acpi::local_apic;
use super::dsdt::{Raw, encode};
use crate::ports;

const CONTROLLER: &str = "\\_SB_.CPUH";
const FOREVER: u16 = 0xffff;
/// `_STA`: present, enabled, shown, working.
const THERE: u8 = 0x0f;
/// What a processor is notified of.
const DEVICE_CHECK: u8 = 1;
const EJECT_REQUEST: u8 = 3;

fn of_controller(name: &str) -> Path {
    Path::new(&format!("{CONTROLLER}.{name}"))
}

/// The device with the registers, and the event's method. For `count` processors.
pub(super) fn controller(count: usize) -> Vec<u8> {
    let first = ports::CPUS;
    let length = acpi_cpus::PORTS[0].count;
    let flag = |name: &[u8; 4]| FieldEntry::Named(*name, 1);
    let mut bytes = encode(&Device::new(
        Path::new(CONTROLLER),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0A06")),
            &Name::new("_UID".into(), &"processors"),
            &Mutex::new("CPLK".into(), 0),
            &OpRegion::new("CPRG".into(), OpRegionSpace::SystemIO, &first, &length),
            &Field::new(
                "CPRG".into(),
                FieldAccessType::DWord,
                FieldLockRule::NoLock,
                FieldUpdateRule::Preserve,
                vec![FieldEntry::Named(*b"CSEL", 32)],
            ),
            // Flags are cleared by ones: the others must not be written as they are.
            &Field::new(
                "CPRG".into(),
                FieldAccessType::Byte,
                FieldLockRule::NoLock,
                FieldUpdateRule::WriteAsZeroes,
                vec![
                    FieldEntry::Reserved(32),
                    flag(b"CPRE"),
                    flag(b"CCOM"),
                    flag(b"CGOE"),
                    flag(b"CEJE"),
                ],
            ),
            &Raw(status()),
            &Raw(eject()),
            &Raw(tell(count)),
            &Raw(look(count)),
        ],
    ));
    let event = format!("_E{:02X}", ports::CPU_EVENT);
    let call = MethodCall::new(of_controller("LOOK"), vec![]);
    let method = Method::new(Path::new(&event), 0, false, vec![&call]);
    bytes.extend(encode(&Scope::new("\\_GPE".into(), vec![&method])));
    bytes
}

/// `STAT`: the `_STA` of a processor.
fn status() -> Vec<u8> {
    encode(&Method::new(
        "STAT".into(),
        1,
        true,
        vec![
            &Acquire::new("CPLK".into(), FOREVER),
            &Store::new(&Path::new("CSEL"), &Arg(0)),
            &Store::new(&Local(0), &aml::ZERO),
            &If::new(
                &Equal::new(&Path::new("CPRE"), &aml::ONE),
                vec![&Store::new(&Local(0), &THERE)],
            ),
            &Release::new("CPLK".into()),
            &Return::new(&Local(0)),
        ],
    ))
}

/// `EJEC`: the `_EJ0` of a processor.
fn eject() -> Vec<u8> {
    encode(&Method::new(
        "EJEC".into(),
        1,
        true,
        vec![
            &Acquire::new("CPLK".into(), FOREVER),
            &Store::new(&Path::new("CSEL"), &Arg(0)),
            &Store::new(&Path::new("CEJE"), &aml::ONE),
            &Release::new("CPLK".into()),
        ],
    ))
}

/// `TELL`: notifies a processor.
fn tell(count: usize) -> Vec<u8> {
    let notify = |index: usize| {
        let name = Path::new(&device_name(index));
        let notify = Notify::new(&name, &Arg(1));
        encode(&If::new(&Equal::new(&Arg(0), &index), vec![&notify]))
    };
    let all: Vec<Raw> = (0..count).map(|index| Raw(notify(index))).collect();
    let children = all.iter().map(|one| one as &dyn Aml).collect();
    encode(&Method::new("TELL".into(), 2, true, children))
}

/// `LOOK`: tells of all that has changed.
fn look(count: usize) -> Vec<u8> {
    let tell = |flag: &str, what: u8| {
        let name = Path::new(flag);
        let told = MethodCall::new("TELL".into(), vec![&Local(0), &what]);
        let seen = Store::new(&name, &aml::ONE);
        encode(&If::new(&Equal::new(&name, &aml::ONE), vec![&told, &seen]))
    };
    let (comes, goes) = (tell("CCOM", DEVICE_CHECK), tell("CGOE", EJECT_REQUEST));
    encode(&Method::new(
        "LOOK".into(),
        0,
        true,
        vec![
            &Acquire::new("CPLK".into(), FOREVER),
            &Store::new(&Local(0), &aml::ZERO),
            &While::new(
                &LessThan::new(&Local(0), &count),
                vec![
                    &Store::new(&Path::new("CSEL"), &Local(0)),
                    &Raw(comes),
                    &Raw(goes),
                    &Add::new(&Local(0), &Local(0), &aml::ONE),
                ],
            ),
            &Release::new("CPLK".into()),
        ],
    ))
}

fn device_name(index: usize) -> String {
    // At most 4096 processors have names of this form; the machine has fewer.
    format!("\\_SB_.C{:03X}", index & 0xfff)
}

/// A processor that comes and goes. The first one stays.
pub(super) fn processor(uid: u32, apic_id: u32) -> Vec<u8> {
    let call = |name: &str| MethodCall::new(of_controller(name), vec![&uid]);
    let (status, eject) = (call("STAT"), call("EJEC"));
    let status = Return::new(&status);
    let entry = BufferData::new(local_apic(uid, apic_id, true));
    let name = format!("C{:03X}", uid & 0xfff);
    let status = Method::new("_STA".into(), 0, true, vec![&status]);
    let eject = Method::new("_EJ0".into(), 1, true, vec![&eject]);
    let (hid, id) = (
        Name::new("_HID".into(), &"ACPI0007"),
        Name::new("_UID".into(), &uid),
    );
    let entry = Name::new("_MAT".into(), &entry);
    let mut children: Vec<&dyn Aml> = vec![&hid, &id, &status, &entry];
    if uid != 0 {
        children.push(&eject);
    }
    encode(&Device::new(Path::new(&name), children))
}
