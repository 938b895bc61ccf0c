//! The processor as each boot protocol hands it to the kernel.
//!
//! Spec: Linux Documentation/arch/x86/boot.rst, "32-bit Boot Protocol" and "64-bit Boot Protocol";
//! Xen docs/misc/pvh.pandoc; Multiboot Specification, "Machine state".

use memory::{Gpa, GuestMemory};
use x86::register::{cr0, cr4, efer, gpr, rflags};
use x86::{CpuState, DescriptorTable, Segment};

use super::ImageError;
use super::place::write;

/// Where the descriptors lie that the segment caches were filled from.
const GDT: Gpa = Gpa(0x500);
const CODE_SELECTOR: u16 = 0x10;
const DATA_SELECTOR: u16 = 0x18;
const TSS_SELECTOR: u16 = 0x20;

const CODE_32: u64 = 0x00cf_9b00_0000_ffff;
const CODE_64: u64 = 0x00af_9b00_0000_ffff;
const DATA: u64 = 0x00cf_9300_0000_ffff;
/// A busy 32-bit TSS of the least size.
const TSS: u64 = 0x0000_8b00_0000_0067;

/// Identity page tables of the 64-bit entry: one PML4, one PDPT, four page directories of 2 MiB pages.
const PML4: Gpa = Gpa(0x9000);
const PDPT: Gpa = Gpa(0xa000);
const PAGE_DIRECTORIES: Gpa = Gpa(0xb000);
const DIRECTORY_COUNT: u64 = 4;
const PRESENT_WRITABLE: u64 = 0b11;
const LARGE: u64 = 1 << 7;

/// Flat 32-bit protected mode without paging, interrupts off.
pub(super) fn protected_mode(memory: &GuestMemory, rip: u64) -> Result<CpuState, ImageError> {
    let mut cpu = flat(memory, CODE_32)?;
    cpu.cr0 = cr0::PE | cr0::ET;
    cpu.rip = rip;
    Ok(cpu)
}

/// 64-bit mode with the first 4 GiB identity-mapped, interrupts off.
pub(super) fn long_mode(memory: &GuestMemory, rip: u64) -> Result<CpuState, ImageError> {
    write_page_tables(memory)?;
    let mut cpu = flat(memory, CODE_64)?;
    cpu.cr0 = cr0::PE | cr0::ET | cr0::PG;
    cpu.cr3 = PML4.0;
    cpu.cr4 = cr4::PAE;
    cpu.efer = efer::LME | efer::LMA;
    cpu.rip = rip;
    Ok(cpu)
}

fn flat(memory: &GuestMemory, code: u64) -> Result<CpuState, ImageError> {
    let table = [0, 0, code, DATA, TSS];
    let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    write(memory, GDT, &bytes)?;
    let data = Segment::from_descriptor(DATA_SELECTOR, DATA);
    let mut cpu = CpuState::at_reset();
    cpu.segments = [data; 6];
    cpu.segments[x86::SegmentRegister::Cs as usize] = Segment::from_descriptor(CODE_SELECTOR, code);
    cpu.tr = Segment::from_descriptor(TSS_SELECTOR, TSS);
    cpu.ldtr = Segment {
        unusable: true,
        ..Segment::default()
    };
    cpu.gdtr = DescriptorTable {
        base: GDT.0,
        limit: (size_of_val(&table) - 1) as u16,
    };
    cpu.idtr = DescriptorTable { base: 0, limit: 0 };
    cpu.rflags = rflags::FIXED;
    cpu.gpr[gpr::RDX] = 0;
    Ok(cpu)
}

fn write_page_tables(memory: &GuestMemory) -> Result<(), ImageError> {
    let directory = |index: u64| PAGE_DIRECTORIES.0 + index * 0x1000;
    let mut pdpt = [0; 512];
    for index in 0..DIRECTORY_COUNT {
        pdpt[index as usize] = directory(index) | PRESENT_WRITABLE;
        let first = index * 512;
        let entries: Vec<u64> = (first..first + 512)
            .map(|page| (page << 21) | LARGE | PRESENT_WRITABLE)
            .collect();
        write_table(memory, Gpa(directory(index)), &entries)?;
    }
    write_table(memory, PDPT, &pdpt)?;
    let mut pml4 = [0; 512];
    pml4[0] = PDPT.0 | PRESENT_WRITABLE;
    write_table(memory, PML4, &pml4)
}

fn write_table(memory: &GuestMemory, at: Gpa, entries: &[u64]) -> Result<(), ImageError> {
    let bytes: Vec<u8> = entries
        .iter()
        .flat_map(|entry| entry.to_le_bytes())
        .collect();
    write(memory, at, &bytes)
}
