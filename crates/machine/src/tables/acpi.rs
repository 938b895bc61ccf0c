//! ACPI: everything from the RSDP down, placed in the BIOS area.
//!
//! Spec: ACPI Specification 6.5, "ACPI Software Programming Model"; PCI Firmware Specification, "MCFG".

use acpi_tables::Aml;
use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use devices::{acpi_pm, tpm};
use memory::Gpa;

use super::generation::GENERATION_LEN;
use super::{checksum, dsdt};
use crate::layout::{BIOS_AREA, ECAM, ECAM_LEN, IOAPIC, LAPIC, MIB, SMBIOS_AREA};
use crate::ports;

const OEM_ID: [u8; 6] = *b"INNKPR";
const OEM_TABLE_ID: [u8; 8] = *b"INNKEEPR";
const OEM_REVISION: u32 = 1;
const CREATOR: [u8; 4] = *b"INNK";
pub(super) const HEADER_LEN: usize = 36;
pub(super) const RSDP_LEN: usize = 36;
const FACS_LEN: usize = 64;
/// The FACS wants this alignment; it serves all.
pub(super) const ALIGN: u64 = 64;
/// Where the FACS is: guests write into it.
pub const FACS: Gpa = Gpa((BIOS_AREA.0 + RSDP_LEN as u64).next_multiple_of(ALIGN));

const IOAPIC_ID: u8 = 0;
/// MADT flags: 8259s are there too.
const PCAT_COMPAT: u32 = 1;
const ENABLED: u32 = 1;
/// Not there, and may come.
const ONLINE_CAPABLE: u32 = 2;
const ALL_PROCESSORS: u32 = 0xffff_ffff;
/// Polarity and trigger as the bus has them.
const CONFORMING: u16 = 0;
const LEVEL_ACTIVE_HIGH: u16 = 0b1101;
/// APIC ids from here on exist in x2APIC form only.
const FIRST_X2APIC_ID: u32 = 255;

/// IA-PC boot architecture flags: COM ports and such exist, an 8042 exists, no VGA.
const LEGACY_DEVICES: u16 = 1 << 0;
const HAS_8042: u16 = 1 << 1;
const NO_VGA: u16 = 1 << 2;
/// Latencies that say there is no C2 and C3.
const NO_C2: u16 = 0xfff;
const NO_C3: u16 = 0xfff;
/// Commands of the TPM are started by its registers, and no more.
const TPM2_START_BY_CRB: u32 = 7;
/// Bytes for the log of what firmware measured.
pub(super) const TPM_LOG_LEN: u32 = 64 << 10;
/// WAET: neither the RTC nor the PM timer needs the workarounds of real ones.
const WAET_RTC_GOOD: u32 = 1 << 0;
const WAET_PM_TIMER_GOOD: u32 = 1 << 1;

/// What of the machine shows in the tables.
#[derive(Debug, Clone)]
pub struct AcpiRequest {
    /// The APIC id of every processor.
    pub apic_ids: Vec<u32>,
    /// Which of them are there, where they come and go; without, all.
    pub present: Option<Vec<bool>>,
    /// PCI slots whose devices come and go.
    pub slots: Vec<u8>,
    /// The window for 64-bit BARs.
    pub pci_window_64: Gpa,
    /// UARTs present, first COM1.
    pub serial_count: usize,
    /// There is a parallel port.
    pub parallel: bool,
    /// There is a TPM.
    pub tpm: bool,
    /// Where the window for 32-bit BARs begins, on a board with firmware. Other boards have theirs, and
    /// a memory-mapped configuration space.
    pub pc_window: Option<Gpa>,
    /// Bytes of the window for 64-bit BARs.
    pub pci_window_64_len: u64,
}

/// All tables one behind the other, and where the two are that list the others.
pub(super) struct Laid {
    pub(super) placed: Vec<(Gpa, Vec<u8>)>,
    pub(super) rsdt_at: u64,
    pub(super) xsdt_at: u64,
    /// Behind the last.
    pub(super) end: u64,
}

/// The bytes of all tables and where they go: the first is the RSDP, at [`BIOS_AREA`]. `None` when
/// there are too many processors for the area.
#[must_use]
pub fn build(request: &AcpiRequest) -> Option<Vec<(Gpa, Vec<u8>)>> {
    let laid = lay_out(request, FACS.0);
    let mut placed = laid.placed;
    placed.insert(0, (BIOS_AREA, rsdp(laid.rsdt_at, laid.xsdt_at)));
    (laid.end <= SMBIOS_AREA.0).then_some(placed)
}

/// Everything but the RSDP, from `first` on, where the FACS will be.
pub(super) fn lay_out(request: &AcpiRequest, first: u64) -> Laid {
    let mut next = first;
    let mut placed = Vec::new();
    let mut place = |bytes: Vec<u8>| {
        let at = next.next_multiple_of(ALIGN);
        next = at + bytes.len() as u64;
        placed.push((Gpa(at), bytes));
        at
    };
    let facs_at = place(facs());
    debug_assert_eq!(facs_at, first);
    if request.pc_window.is_none() {
        // Written by the machine, as its guests begin.
        place(vec![0; GENERATION_LEN]);
    }
    let dsdt_at = place(table(*b"DSDT", 2, &dsdt::build(request)));
    let mut listed = vec![
        place(fadt(request, facs_at, dsdt_at)),
        place(table(*b"APIC", 5, &madt(request))),
        place(table(
            *b"WAET",
            1,
            &(WAET_RTC_GOOD | WAET_PM_TIMER_GOOD).to_le_bytes(),
        )),
    ];
    if request.pc_window.is_none() {
        listed.push(place(table(*b"MCFG", 1, &mcfg())));
    }
    if request.tpm {
        listed.push(place(table(
            *b"TPM2",
            4,
            &tpm2(request.pc_window.is_some()),
        )));
    }
    let short: Vec<u8> = listed.iter().flat_map(|&at| low32(at)).collect();
    let long: Vec<u8> = listed.iter().flat_map(|at| at.to_le_bytes()).collect();
    let rsdt_at = place(table(*b"RSDT", 1, &short));
    let xsdt_at = place(table(*b"XSDT", 1, &long));
    Laid {
        placed,
        rsdt_at,
        xsdt_at,
        end: next,
    }
}

/// A table: the common header, then `body`.
fn table(signature: [u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + body.len());
    bytes.extend(signature);
    // Tables are bounded by the BIOS area.
    bytes.extend(((HEADER_LEN + body.len()) as u32).to_le_bytes());
    bytes.extend([revision, 0]);
    bytes.extend(OEM_ID);
    bytes.extend(OEM_TABLE_ID);
    bytes.extend(OEM_REVISION.to_le_bytes());
    bytes.extend(CREATOR);
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(body);
    bytes[9] = checksum(&bytes);
    bytes
}

pub(super) fn rsdp(rsdt_at: u64, xsdt_at: u64) -> Vec<u8> {
    let mut bytes = b"RSD PTR \0".to_vec();
    bytes.extend(OEM_ID);
    bytes.push(2);
    bytes.extend(low32(rsdt_at));
    // The old checksum covers the first 20 bytes only.
    bytes[8] = checksum(&bytes);
    bytes.extend((RSDP_LEN as u32).to_le_bytes());
    bytes.extend(xsdt_at.to_le_bytes());
    bytes.extend([0; 4]);
    bytes[32] = checksum(&bytes);
    bytes
}

fn facs() -> Vec<u8> {
    let mut bytes = vec![0; FACS_LEN];
    bytes[..4].copy_from_slice(b"FACS");
    bytes[4..8].copy_from_slice(&(FACS_LEN as u32).to_le_bytes());
    bytes[32] = 2;
    bytes
}

fn register(port: u16, bits: u8, access: AccessSize) -> GAS {
    GAS::new(AddressSpace::SystemIo, bits, 0, access, u64::from(port))
}

fn fadt(request: &AcpiRequest, facs_at: u64, dsdt_at: u64) -> Vec<u8> {
    let flags = [
        Flags::Wbinvd,
        Flags::ProcC1,
        // No sleep button as a fixed feature; the power button is one, and so is the RTC's alarm.
        Flags::SlpButton,
        Flags::TmrValExt,
        Flags::ResetRegSup,
    ];
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .preferred_pm_profile(PmProfile::EnterpriseServer);
    fadt = flags.into_iter().fold(fadt, FADTBuilder::flag);
    // Tables lie below 1 MiB, so both widths of each pointer are given.
    fadt.firmware_ctrl = (facs_at as u32).into();
    fadt.dsdt = (dsdt_at as u32).into();
    fadt.x_dsdt = dsdt_at.into();
    fadt.sci_int = u16::from(ports::SCI).into();
    fadt.pm1a_evt_blk = u32::from(ports::PM1_EVENT).into();
    fadt.pm1a_cnt_blk = u32::from(ports::PM1_CONTROL).into();
    fadt.pm_tmr_blk = u32::from(ports::PM_TIMER).into();
    fadt.gpe0_blk = u32::from(ports::GPE0).into();
    fadt.pm1_evt_len = acpi_pm::PM1_EVENT_LENGTH;
    fadt.pm1_cnt_len = acpi_pm::PM1_CONTROL_LENGTH;
    fadt.pm_tmr_len = acpi_pm::PM_TIMER_LENGTH;
    fadt.gpe0_blk_len = acpi_pm::GPE0_LENGTH;
    fadt.p_lvl2_lat = NO_C2.into();
    fadt.p_lvl3_lat = NO_C3.into();
    fadt.century = ports::RTC_CENTURY;
    let display = match request.pc_window {
        // Firmware of the PC's finds out for itself whether there is one.
        Some(_) => 0,
        None => NO_VGA,
    };
    fadt.iapc_boot_arch = (LEGACY_DEVICES | HAS_8042 | display).into();
    fadt.reset_reg = register(ports::RESET, 8, AccessSize::ByteAccess);
    fadt.reset_value = ports::RESET_VALUE;
    fadt.x_pm1a_evt_blk = register(ports::PM1_EVENT, 32, AccessSize::WordAccess);
    fadt.x_pm1a_cnt_blk = register(ports::PM1_CONTROL, 16, AccessSize::WordAccess);
    fadt.x_pm_tmr_blk = register(ports::PM_TIMER, 32, AccessSize::DwordAccess);
    let gpe0_bits = acpi_pm::GPE0_LENGTH * 8;
    fadt.x_gpe0_blk = register(ports::GPE0, gpe0_bits, AccessSize::ByteAccess);
    let mut bytes = Vec::new();
    fadt.finalize().to_aml_bytes(&mut bytes);
    bytes
}

fn madt(request: &AcpiRequest) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(low32(LAPIC.0));
    body.extend(PCAT_COMPAT.to_le_bytes());
    for (index, &apic_id) in request.apic_ids.iter().enumerate() {
        let present = request.present.as_ref().and_then(|all| all.get(index));
        // Bounded by the room for tables.
        body.extend(local_apic(index as u32, apic_id, *present.unwrap_or(&true)));
    }
    body.extend([1, 12, IOAPIC_ID, 0]);
    body.extend(low32(IOAPIC.0));
    body.extend(0u32.to_le_bytes());
    body.extend(interrupt_override(0, 2, CONFORMING));
    body.extend(interrupt_override(
        ports::SCI,
        u32::from(ports::SCI),
        LEVEL_ACTIVE_HIGH,
    ));
    // Boards with firmware have inputs for PCI alone.
    let shared = ports::PCI_IRQS
        .iter()
        .filter(|_| request.pc_window.is_none());
    for &irq in shared {
        body.extend(interrupt_override(irq, u32::from(irq), LEVEL_ACTIVE_HIGH));
    }
    // LINT1 of every local APIC is the NMI.
    body.extend([4, 6, 0xff]);
    body.extend(CONFORMING.to_le_bytes());
    body.push(1);
    body.extend([10, 12]);
    body.extend(CONFORMING.to_le_bytes());
    body.extend(ALL_PROCESSORS.to_le_bytes());
    body.extend([1, 0, 0, 0]);
    body
}

/// A processor's local APIC, in the form its id fits into.
pub(super) fn local_apic(uid: u32, apic_id: u32, present: bool) -> Vec<u8> {
    let flags = if present { ENABLED } else { ONLINE_CAPABLE };
    let mut entry = Vec::new();
    if apic_id < FIRST_X2APIC_ID && uid < FIRST_X2APIC_ID {
        // Both were just found to fit.
        entry.extend([0, 8, uid as u8, apic_id as u8]);
        entry.extend(flags.to_le_bytes());
    } else {
        entry.extend([9, 16, 0, 0]);
        entry.extend(apic_id.to_le_bytes());
        entry.extend(flags.to_le_bytes());
        entry.extend(uid.to_le_bytes());
    }
    entry
}

fn interrupt_override(irq: u8, gsi: u32, flags: u16) -> Vec<u8> {
    let mut entry = vec![2, 10, 0, irq];
    entry.extend(gsi.to_le_bytes());
    entry.extend(flags.to_le_bytes());
    entry
}

fn mcfg() -> Vec<u8> {
    let mut body = vec![0; 8];
    body.extend(ECAM.0.to_le_bytes());
    // Segment 0, all buses of the window.
    body.extend([0, 0, 0, (ECAM_LEN / MIB - 1) as u8]);
    body.extend([0; 4]);
    body
}

/// Spec: TCG ACPI Specification, "Table for TPM 2.0". With `log`, firmware has a place for what it measured.
fn tpm2(log: bool) -> Vec<u8> {
    // A client's platform.
    let mut body = vec![0; 4];
    body.extend(tpm::CONTROL_AREA.to_le_bytes());
    body.extend(TPM2_START_BY_CRB.to_le_bytes());
    if log {
        body.extend([0; 12]);
        body.extend(TPM_LOG_LEN.to_le_bytes());
        // Firmware says where.
        body.extend([0; 8]);
    }
    body
}

/// Every table lies below 1 MiB.
fn low32(at: u64) -> [u8; 4] {
    (at as u32).to_le_bytes()
}

#[cfg(test)]
mod tests;
