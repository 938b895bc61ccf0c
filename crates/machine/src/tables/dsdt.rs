//! The DSDT: what the operating system finds besides PCI devices. Spec: ACPI 6.5, "ACPI Source
//! Language (ASL) Reference", "Device Class-Specific Objects".

use acpi_tables::aml::{
    self, AddressSpaceCacheable, Device, EISAName, Interrupt, Name, Package, Path,
    ResourceTemplate, Scope,
};
use acpi_tables::{Aml, AmlSink};
use devices::{acpi_pm, tpm};

use super::acpi::AcpiRequest;
use super::generation::{self, GENERATION};
use super::{processors, slots};
use crate::layout::{
    ECAM, ECAM_LEN, PC_PCI_WINDOW_END, PCI_WINDOW, PCI_WINDOW_END, VGA_HOLE, VGA_HOLE_END,
};
use crate::{pc, ports};

/// `_PRT` addresses name a device, all functions.
const ALL_FUNCTIONS: u32 = 0xffff;
const PCI_DEVICES: u32 = 32;
const PCI_PINS: u32 = 4;

/// The AML behind the DSDT's header.
pub(super) fn build(request: &AcpiRequest) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut add = |object: &dyn Aml| object.to_aml_bytes(&mut bytes);
    let system_bus = |object: &dyn Aml| {
        let mut body = Vec::new();
        object.to_aml_bytes(&mut body);
        Raw(Scope::raw(Path::new("_SB_"), body))
    };
    add(&system_bus(&Raw(pci_root(request))));
    add(&system_bus(&Raw(motherboard(request))));
    for index in 0..request.serial_count.min(ports::SERIAL.len()) {
        add(&system_bus(&Raw(serial(index))));
    }
    if request.parallel {
        add(&system_bus(&Raw(parallel())));
    }
    add(&system_bus(&Raw(clock())));
    add(&system_bus(&Raw(keyboard())));
    add(&system_bus(&Raw(mouse())));
    if request.tpm {
        add(&system_bus(&Raw(trusted_platform_module())));
    }
    for (uid, &apic_id) in request.apic_ids.iter().enumerate() {
        let processor = match request.present {
            // Bounded by the room for tables.
            Some(_) => processors::processor(uid as u32, apic_id),
            None => processor(uid),
        };
        add(&system_bus(&Raw(processor)));
    }
    if request.present.is_some() {
        add(&Raw(processors::controller(request.apic_ids.len())));
    }
    if !request.slots.is_empty() {
        add(&Raw(slots::controller(&request.slots)));
    }
    if request.pc_window.is_none() {
        add(&system_bus(&Raw(generation::device(GENERATION.0))));
        add(&Raw(generation::event()));
    }
    for (name, sleep) in [
        ("_S3_", acpi_pm::SLEEP_TYPE_S3),
        ("_S5_", acpi_pm::SLEEP_TYPE_S5),
    ] {
        let package = Package::new(vec![&sleep, &sleep, &aml::ZERO, &aml::ZERO]);
        add(&Name::new(name.into(), &package));
    }
    bytes
}

/// AML that is encoded already.
pub(super) struct Raw(pub(super) Vec<u8>);

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

pub(super) fn encode(object: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    object.to_aml_bytes(&mut bytes);
    bytes
}

fn pci_root(request: &AcpiRequest) -> Vec<u8> {
    let none: AddressSpaceCacheable = AddressSpaceCacheable::NotCacheable;
    let window_64 = request.pci_window_64.0;
    let (window, window_end) = match request.pc_window {
        Some(base) => (base, PC_PCI_WINDOW_END),
        None => (PCI_WINDOW, PCI_WINDOW_END),
    };
    let resources = Raw(encode(&ResourceTemplate::new(vec![
        &aml::AddressSpace::new_bus_number(0u16, 0xffu16),
        &aml::IO::new(0xcf8, 0xcf8, 1, 8),
        &aml::AddressSpace::new_io(0u16, 0xcf7u16, None),
        &aml::AddressSpace::new_io(0xd00u16, 0xffffu16, None),
        &aml::AddressSpace::new_memory(
            none,
            true,
            low32(VGA_HOLE.0),
            low32(VGA_HOLE_END.0 - 1),
            None,
        ),
        &aml::AddressSpace::new_memory(none, true, low32(window.0), low32(window_end.0 - 1), None),
        &aml::AddressSpace::new_memory(
            none,
            true,
            window_64,
            window_64 + (request.pci_window_64_len - 1),
            None,
        ),
    ])));
    let routing = Raw(routing_table(request));
    let all = request.slots.iter().map(|&slot| slots::slot(slot));
    let slots = Raw(all.flatten().collect());
    encode(&Device::new(
        "PCI0".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0A08")),
            &Name::new("_CID".into(), &EISAName::new("PNP0A03")),
            &Name::new("_ADR".into(), &aml::ZERO),
            &Name::new("_BBN".into(), &aml::ZERO),
            &Name::new("_SEG".into(), &aml::ZERO),
            &Name::new("_UID".into(), &aml::ZERO),
            &Name::new("_CRS".into(), &resources),
            &Name::new("_PRT".into(), &routing),
            &slots,
        ],
    ))
}

/// `_PRT`: which interrupt each pin of each slot drives.
fn routing_table(request: &AcpiRequest) -> Vec<u8> {
    let mut table = aml::PackageBuilder::new();
    for device in 0..PCI_DEVICES {
        for pin in 0..PCI_PINS {
            let irq = match request.pc_window {
                // One of four.
                Some(_) => pc::FIRST_PCI_GSI + pc::pci_wire(device, pin) as u8,
                None => ports::pci_irq(device, pin),
            };
            table.add_element(&Package::new(vec![
                &((device << 16) | ALL_FUNCTIONS),
                &pin,
                &aml::ZERO,
                &u32::from(irq),
            ]));
        }
    }
    encode(&table)
}

/// Addresses that no driver may hand out: ECAM, and the ports of ACPI itself.
fn motherboard(request: &AcpiRequest) -> Vec<u8> {
    let ecam = aml::Memory32Fixed::new(true, low32(ECAM.0), low32(ECAM_LEN));
    let ports = aml::IO::new(ports::PM1_EVENT, ports::PM1_EVENT, 1, ports::PM_LEN);
    let mut all: Vec<&dyn Aml> = vec![&ports];
    if request.pc_window.is_none() {
        all.insert(0, &ecam);
    }
    let resources = Raw(encode(&ResourceTemplate::new(all)));
    device("MBRD", "PNP0C02", 0, &resources)
}

fn serial(index: usize) -> Vec<u8> {
    const NAMES: [&str; 2] = ["COM1", "COM2"];
    let port = ports::SERIAL[index];
    let resources = Raw(encode(&ResourceTemplate::new(vec![
        &aml::IO::new(port.first, port.first, 1, 8),
        &edge(port.irq),
    ])));
    device(NAMES[index], "PNP0501", index + 1, &resources)
}

fn parallel() -> Vec<u8> {
    let len = devices::parallel::PORTS[0].count as u8;
    let resources = Raw(encode(&ResourceTemplate::new(vec![
        &aml::IO::new(ports::PARALLEL, ports::PARALLEL, 1, len),
        &edge(ports::PARALLEL_IRQ),
    ])));
    device("LPT1", "PNP0400", 0, &resources)
}

fn clock() -> Vec<u8> {
    let resources = Raw(encode(&ResourceTemplate::new(vec![
        &aml::IO::new(0x70, 0x70, 1, 2),
        &edge(ports::RTC_IRQ),
    ])));
    device("RTC_", "PNP0B00", 0, &resources)
}

fn keyboard() -> Vec<u8> {
    let resources = Raw(encode(&ResourceTemplate::new(vec![
        &aml::IO::new(0x60, 0x60, 1, 1),
        &aml::IO::new(0x64, 0x64, 1, 1),
        &edge(ports::KEYBOARD_IRQ),
    ])));
    device("KBD_", "PNP0303", 0, &resources)
}

fn mouse() -> Vec<u8> {
    let resources = Raw(encode(&ResourceTemplate::new(vec![&edge(
        ports::MOUSE_IRQ,
    )])));
    device("MOU_", "PNP0F13", 0, &resources)
}

/// Spec: TCG PC Client Platform Firmware Profile, "ACPI Device Object for TPM 2.0".
fn trusted_platform_module() -> Vec<u8> {
    let registers = aml::Memory32Fixed::new(true, low32(tpm::BASE), low32(tpm::LEN));
    let resources = Raw(encode(&ResourceTemplate::new(vec![&registers])));
    encode(&Device::new(
        "TPM_".into(),
        vec![
            &Name::new("_HID".into(), &"MSFT0101"),
            &Name::new("_STR".into(), &"TPM 2.0 Device"),
            &Name::new("_UID".into(), &aml::ONE),
            &Name::new("_STA".into(), &0x0fu8),
            &Name::new("_CRS".into(), &resources),
        ],
    ))
}

fn processor(uid: usize) -> Vec<u8> {
    // At most 999 processors have names of this form; the machine has fewer.
    let name = format!("C{:03X}", uid & 0xfff);
    encode(&Device::new(
        Path::new(&name),
        vec![
            &Name::new("_HID".into(), &"ACPI0007"),
            &Name::new("_UID".into(), &uid),
        ],
    ))
}

fn edge(irq: u8) -> Interrupt {
    Interrupt::new(true, true, false, false, u32::from(irq))
}

fn device(name: &str, id: &str, uid: usize, resources: &dyn Aml) -> Vec<u8> {
    encode(&Device::new(
        Path::new(name),
        vec![
            &Name::new("_HID".into(), &EISAName::new(id)),
            &Name::new("_UID".into(), &uid),
            &Name::new("_CRS".into(), resources),
        ],
    ))
}

/// For addresses below 4 GiB.
fn low32(at: u64) -> u32 {
    at as u32
}
