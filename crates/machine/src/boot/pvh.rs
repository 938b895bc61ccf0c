//! Boots an ELF kernel by its PVH entry. Spec: Xen docs/misc/pvh.pandoc, public/arch-x86/hvm/start_info.h.

use memory::{Gpa, GuestMemory};
use x86::CpuState;
use x86::register::gpr;

use super::content::Content;
use super::elf::Elf;
use super::error::Fault;
use super::initrd::{Initrd, place_high};
use super::place::{load, write};
use super::{BootRequest, ImageError, command_line, entry};
use crate::layout::{BIOS_AREA, low_ram_end, memory_map};

const START_INFO: Gpa = Gpa(0x6000);
const MODULE_LIST: Gpa = Gpa(0x6040);
const MEMORY_MAP: Gpa = Gpa(0x6080);
const COMMAND_LINE: Gpa = Gpa(0x2_0000);
const COMMAND_LINE_ROOM: usize = 0x1_0000;
const MAGIC: u32 = 0x336e_c578;
const VERSION: u32 = 1;
/// Of an ELF file that is no multiboot kernel either.
pub(super) const NO_ENTRY: ImageError = ImageError::Damaged {
    what: "the ELF file has neither a PVH entry note nor a multiboot header",
};

/// Loads everything into RAM; the answer is the boot processor's state.
pub(super) fn boot(
    memory: &GuestMemory,
    file: &impl Content,
    elf: &Elf,
    request: &BootRequest<'_>,
    initrd: &Initrd<'_>,
) -> Result<CpuState, Fault> {
    let rip = elf.pvh_entry.ok_or(NO_ENTRY)?;
    let text = command_line::encode(request.command_line, COMMAND_LINE_ROOM - 1)?;
    let ram_end = low_ram_end(&memory.ranges()).0;
    load(memory, file, &elf.pieces)?;
    let initrd_at = place_high(initrd.len(), elf.end()..ram_end)?;
    initrd.load(memory, Gpa(initrd_at))?;
    write(memory, COMMAND_LINE, &text)?;
    write_start_info(memory, initrd_at, initrd.len())?;
    let mut cpu = entry::protected_mode(memory, rip)?;
    cpu.gpr[gpr::RBX] = START_INFO.0;
    Ok(cpu)
}

fn write_start_info(memory: &GuestMemory, initrd_at: u64, len: u64) -> Result<(), ImageError> {
    let map = memory_map(&memory.initial_ranges());
    let modules = u32::from(len > 0);
    let mut info = Vec::new();
    info.extend(MAGIC.to_le_bytes());
    info.extend(VERSION.to_le_bytes());
    info.extend(0u32.to_le_bytes());
    info.extend(modules.to_le_bytes());
    info.extend(MODULE_LIST.0.to_le_bytes());
    info.extend(COMMAND_LINE.0.to_le_bytes());
    info.extend(BIOS_AREA.0.to_le_bytes());
    info.extend(MEMORY_MAP.0.to_le_bytes());
    // A handful of entries.
    info.extend((map.len() as u32).to_le_bytes());
    info.extend(0u32.to_le_bytes());
    write(memory, START_INFO, &info)?;
    let module: Vec<u8> = [initrd_at, len, 0, 0]
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .collect();
    write(memory, MODULE_LIST, &module)?;
    let mut entries = Vec::new();
    for entry in &map {
        entries.extend(entry.base.0.to_le_bytes());
        entries.extend(entry.len.to_le_bytes());
        entries.extend((entry.kind as u32).to_le_bytes());
        entries.extend(0u32.to_le_bytes());
    }
    write(memory, MEMORY_MAP, &entries)
}
