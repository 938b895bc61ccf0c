//! Boots a bzImage: zero page, command line, initial RAM disk, entry.
//!
//! Spec: Linux Documentation/arch/x86/{boot,zero-page}.rst.

use memory::{Gpa, GuestMemory};
use x86::CpuState;
use x86::register::gpr;

use super::bzimage::{BzImage, HEADER};
use super::content::Content;
use super::elf::Elf;
use super::error::Fault;
use super::initrd::{Initrd, place_high};
use super::place::{load, write};
use super::{BootRequest, command_line, entry};
use crate::layout::{BIOS_AREA, low_ram_end, memory_map};

const ZERO_PAGE: Gpa = Gpa(0x7000);
const ZERO_PAGE_LEN: usize = 0x1000;
const SETUP_DATA: Gpa = Gpa(0x1_0000);
const COMMAND_LINE: Gpa = Gpa(0x2_0000);
/// The command line lies between its address and conventional memory that we leave alone.
const COMMAND_LINE_ROOM: usize = 0x1_0000;
const UNKNOWN_LOADER: u8 = 0xff;
const LONG_ENTRY_OFFSET: u64 = 0x200;
const SETUP_RNG_SEED: u32 = 9;
/// 2.12, the first with 64-bit entries.
const PROTOCOL: u16 = 0x20c;
const LOADED_HIGH: u8 = 1 << 0;
const KERNEL_ALIGNMENT: u64 = 0x100_0000;
const MAX_MAP_ENTRIES: usize = 128;

/// Loads everything into RAM; the answer is the boot processor's state.
pub(super) fn boot(
    memory: &GuestMemory,
    file: &[u8],
    request: &BootRequest<'_>,
    initrd: &Initrd<'_>,
) -> Result<CpuState, Fault> {
    let image = BzImage::parse(file)?;
    let ram_end = low_ram_end(&memory.ranges()).0;
    let at = image.load_address(ram_end)?;
    let limit = (image.command_line_size as usize).min(COMMAND_LINE_ROOM - 1);
    let text = command_line::encode(request.command_line, limit)?;
    let kernel_end = at + image.init_size;
    let room = kernel_end..ram_end.min(image.initrd_max.saturating_add(1));
    let initrd_at = place_high(initrd.len(), room)?;
    write(memory, Gpa(at), image.kernel)?;
    initrd.load(memory, Gpa(initrd_at))?;
    write(memory, COMMAND_LINE, &text)?;
    let mut zero_page = zero_page(memory, image.header);
    put32(&mut zero_page, 0x214, at);
    describe_screen(request, &mut zero_page);
    put32(&mut zero_page, 0x218, initrd_at);
    put32(&mut zero_page, 0x21c, initrd.len());
    if image.protocol >= 0x209 && !request.given.seed.is_empty() {
        write(memory, SETUP_DATA, &seed_record(request.given.seed))?;
        put64(&mut zero_page, 0x250, SETUP_DATA.0);
    }
    write(memory, ZERO_PAGE, &zero_page)?;
    let mut cpu = if image.long_entry && request.given.long_mode {
        entry::long_mode(memory, at + LONG_ENTRY_OFFSET)?
    } else {
        entry::protected_mode(memory, at)?
    };
    cpu.gpr[gpr::RSI] = ZERO_PAGE.0;
    Ok(cpu)
}

/// Likewise of the kernel that is packed in a bzImage, which has the same 64-bit entry.
pub(super) fn boot_elf(
    memory: &GuestMemory,
    file: &impl Content,
    elf: &Elf,
    request: &BootRequest<'_>,
    initrd: &Initrd<'_>,
) -> Result<CpuState, Fault> {
    let ram_end = low_ram_end(&memory.ranges()).0;
    let text = command_line::encode(request.command_line, COMMAND_LINE_ROOM - 1)?;
    load(memory, file, &elf.pieces)?;
    let initrd_at = place_high(initrd.len(), elf.end()..ram_end)?;
    initrd.load(memory, Gpa(initrd_at))?;
    write(memory, COMMAND_LINE, &text)?;
    let mut zero_page = zero_page(memory, &[]);
    // What the setup header would have said.
    zero_page[0x1fe..0x200].copy_from_slice(&0xaa55u16.to_le_bytes());
    zero_page[0x202..0x206].copy_from_slice(b"HdrS");
    zero_page[0x206..0x208].copy_from_slice(&PROTOCOL.to_le_bytes());
    zero_page[0x211] = LOADED_HIGH;
    put32(&mut zero_page, 0x218, initrd_at);
    put32(&mut zero_page, 0x21c, initrd.len());
    put32(&mut zero_page, 0x230, KERNEL_ALIGNMENT);
    put32(&mut zero_page, 0x238, COMMAND_LINE_ROOM as u64 - 1);
    if !request.given.seed.is_empty() {
        write(memory, SETUP_DATA, &seed_record(request.given.seed))?;
        put64(&mut zero_page, 0x250, SETUP_DATA.0);
    }
    describe_screen(request, &mut zero_page);
    write(memory, ZERO_PAGE, &zero_page)?;
    let mut cpu = entry::long_mode(memory, elf.entry)?;
    cpu.gpr[gpr::RSI] = ZERO_PAGE.0;
    Ok(cpu)
}

fn describe_screen(request: &BootRequest<'_>, zero_page: &mut [u8]) {
    if let Some(frame_buffer) = request.given.frame_buffer {
        frame_buffer.describe(zero_page);
    }
}

/// With a setup header, what every kernel is told of the machine.
fn zero_page(memory: &GuestMemory, setup_header: &[u8]) -> Vec<u8> {
    let mut page = vec![0; ZERO_PAGE_LEN];
    let header = HEADER as usize;
    page[header..header + setup_header.len()].copy_from_slice(setup_header);
    page[0x210] = UNKNOWN_LOADER;
    put32(&mut page, 0x228, COMMAND_LINE.0);
    // acpi_rsdp_addr; kernels before protocol 2.14 search the BIOS area instead.
    put64(&mut page, 0x70, BIOS_AREA.0);
    let map = memory_map(&memory.initial_ranges());
    let count = map.len().min(MAX_MAP_ENTRIES);
    // At most 128.
    page[0x1e8] = count as u8;
    for (index, entry) in map.iter().take(count).enumerate() {
        let field = 0x2d0 + index * 20;
        put64(&mut page, field, entry.base.0);
        put64(&mut page, field + 8, entry.len);
        put32(&mut page, field + 16, entry.kind as u64);
    }
    page
}

/// A `struct setup_data` with entropy for the kernel's generator.
fn seed_record(seed: &[u8]) -> Vec<u8> {
    let mut record = vec![0; 8];
    record.extend(SETUP_RNG_SEED.to_le_bytes());
    // The caller's seed is a few dozen bytes.
    record.extend((seed.len() as u32).to_le_bytes());
    record.extend(seed);
    record
}

/// Stores the low 32 bits: every value here is an address or length below 4 GiB.
fn put32(page: &mut [u8], at: usize, value: u64) {
    page[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
}

fn put64(page: &mut [u8], at: usize, value: u64) {
    page[at..at + 8].copy_from_slice(&value.to_le_bytes());
}
