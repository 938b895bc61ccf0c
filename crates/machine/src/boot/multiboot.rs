//! Boots a multiboot kernel. Spec: Multiboot Specification version 0.6.96, "OS image format" and
//! "Boot information format".

use memory::{Gpa, GuestMemory, PAGE_SIZE};
use x86::CpuState;
use x86::register::gpr;

use super::bytes::{slice_at, u32_at};
use super::elf::{Elf, is_elf};
use super::error::Fault;
use super::initrd::{Initrd, load_file};
use super::place::{Piece, load, require_ram, write};
use super::{BootRequest, ImageError, command_line, entry};
use crate::layout::{BIOS_AREA_END, EBDA, KIB, MIB, low_ram_end, memory_map};

const MAGIC: u32 = 0x1bad_b002;
/// The header lies wholly in this much of the file.
pub const SEARCH: usize = 8192;
const HAS_ADDRESSES: u32 = 1 << 16;
/// Flags 0 to 15 are demands: page-aligned modules, memory sizes, a video mode. We cannot meet
/// others. A video mode is not granted either; kernels that ask for one find out from the flags.
const KNOWN_DEMANDS: u32 = 0b111;
const DEMANDS: u32 = 0xffff;
const LOADER_MAGIC: u64 = 0x2bad_b002;
const WHAT: &str = "the multiboot header";

const INFO_LEN: u64 = 120;
const INFO_MEMORY: u32 = 1 << 0;
const INFO_COMMAND_LINE: u32 = 1 << 2;
const INFO_MODULES: u32 = 1 << 3;
const INFO_MAP: u32 = 1 << 6;
const INFO_LOADER_NAME: u32 = 1 << 9;
const LOADER_NAME: &[u8] = b"Innkeeper\0";
/// Conventional memory that kernels seldom claim.
const INFO_LOW: Gpa = Gpa(0x8_0000);

/// A multiboot image: where its parts go, and where it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multiboot<'a> {
    file: &'a [u8],
    pub pieces: Vec<Piece>,
    pub entry: u64,
}

/// File offset of the header, if there is one.
#[must_use]
pub(super) fn find_header(file: &[u8]) -> Option<u64> {
    let end = file.len().min(SEARCH);
    (0..end.saturating_sub(11)).step_by(4).find_map(|at| {
        let field = |n: u64| u32_at(file, at as u64 + n * 4, WHAT).ok();
        let (magic, flags, checksum) = (field(0)?, field(1)?, field(2)?);
        let sum = magic.wrapping_add(flags).wrapping_add(checksum);
        (magic == MAGIC && sum == 0).then_some(at as u64)
    })
}

impl<'a> Multiboot<'a> {
    /// # Errors
    /// When there is no header, it demands what we do not know, or its addresses make no sense.
    pub fn parse(file: &'a [u8]) -> Result<Multiboot<'a>, ImageError> {
        let header = find_header(file).ok_or(ImageError::Unknown)?;
        let flags = u32_at(file, header + 4, WHAT)?;
        if flags & DEMANDS & !KNOWN_DEMANDS != 0 {
            let what = "a multiboot feature that this kernel demands";
            return Err(ImageError::Unsupported { what });
        }
        if flags & HAS_ADDRESSES != 0 {
            return flat(file, header);
        }
        if !is_elf(file) {
            let what = "the multiboot kernel is no ELF file and names no load address";
            return Err(ImageError::Damaged { what });
        }
        let elf = Elf::parse(file)?;
        Ok(Multiboot {
            file,
            pieces: elf.pieces,
            entry: elf.entry,
        })
    }

    fn end(&self) -> u64 {
        self.pieces.iter().map(Piece::end).max().unwrap_or(0)
    }

    fn overlaps(&self, at: u64, len: u64) -> bool {
        let mut pieces = self.pieces.iter();
        pieces.any(|piece| piece.at.0 < at.saturating_add(len) && at < piece.end())
    }
}

/// The "a.out kludge": one flat piece, its addresses in the header.
fn flat(file: &[u8], header: u64) -> Result<Multiboot<'_>, ImageError> {
    let damaged = |what| ImageError::Damaged { what };
    let field = |n: u64| u32_at(file, header + 12 + n * 4, WHAT).map(u64::from);
    let (header_address, load_address) = (field(0)?, field(1)?);
    let (load_end, bss_end, entry) = (field(2)?, field(3)?, field(4)?);
    let before = header_address
        .checked_sub(load_address)
        .ok_or(damaged("the multiboot header lies before its load address"))?;
    let start = header
        .checked_sub(before)
        .ok_or(damaged("the multiboot image begins before its file"))?;
    let len = match load_end {
        0 => file.len() as u64 - start.min(file.len() as u64),
        end => end
            .checked_sub(load_address)
            .ok_or(damaged("the multiboot image ends before it begins"))?,
    };
    slice_at(file, start, len, "the multiboot image")?;
    let memory_len = match bss_end {
        0 => len,
        end => end.saturating_sub(load_address).max(len),
    };
    let piece = Piece {
        at: Gpa(load_address),
        from: start,
        len,
        memory_len,
    };
    Ok(Multiboot {
        file,
        pieces: vec![piece],
        entry,
    })
}

/// Loads everything into RAM; the answer is the boot processor's state.
pub(super) fn boot(
    memory: &GuestMemory,
    image: &Multiboot<'_>,
    request: &BootRequest<'_>,
    initrd: &Initrd<'_>,
) -> Result<CpuState, Fault> {
    load(memory, &image.file, &image.pieces)?;
    let mut next = image.end().max(BIOS_AREA_END.0);
    let mut modules = Vec::new();
    for part in initrd.parts() {
        let at = next.next_multiple_of(PAGE_SIZE);
        load_file(memory, part, Gpa(at))?;
        next = at + part.len;
        modules.push(Module {
            start: at,
            end: next,
            name: part.path.to_string_lossy().into_owned(),
        });
    }
    // The first word is the kernel's own name, as a shell would pass it.
    let text = format!("{} {}", request.kernel_name, request.command_line);
    let text = command_line::encode(&text, u16::MAX.into())?;
    let info = |at: Gpa| info_block(memory, at, &text, &modules);
    let len = info(Gpa(0)).len() as u64;
    let mut at = INFO_LOW;
    if image.overlaps(at.0, len) || at.0 + len > EBDA.0 {
        at = Gpa(next.next_multiple_of(PAGE_SIZE));
    }
    require_ram(memory, at, len).map_err(|_| ImageError::NoRoomForInfo { len })?;
    write(memory, at, &info(at))?;
    let mut cpu = entry::protected_mode(memory, image.entry)?;
    cpu.gpr[gpr::RAX] = LOADER_MAGIC;
    cpu.gpr[gpr::RBX] = at.0;
    Ok(cpu)
}

#[derive(Debug)]
struct Module {
    start: u64,
    end: u64,
    name: String,
}

/// The information block and all that it points to, for address `at`.
fn info_block(memory: &GuestMemory, at: Gpa, text: &[u8], modules: &[Module]) -> Vec<u8> {
    let map = memory_map(&memory.initial_ranges());
    let mut tail = Vec::new();
    let place = |tail: &mut Vec<u8>, bytes: &[u8]| {
        let here = at.0 + INFO_LEN + tail.len() as u64;
        tail.extend(bytes);
        here
    };
    let mut map_bytes = Vec::new();
    for entry in &map {
        map_bytes.extend(20u32.to_le_bytes());
        map_bytes.extend(entry.base.0.to_le_bytes());
        map_bytes.extend(entry.len.to_le_bytes());
        map_bytes.extend((entry.kind as u32).to_le_bytes());
    }
    let map_at = place(&mut tail, &map_bytes);
    let mut list = Vec::new();
    for module in modules {
        let name_at = place(&mut tail, &[module.name.as_bytes(), &[0]].concat());
        for field in [module.start, module.end, name_at, 0] {
            list.extend(low32(field));
        }
    }
    let text_at = place(&mut tail, text);
    let loader_at = place(&mut tail, LOADER_NAME);
    while tail.len() % 4 != 0 {
        tail.push(0);
    }
    let list_at = place(&mut tail, &list);
    let upper = low_ram_end(&memory.ranges()).0.saturating_sub(MIB) / KIB;
    let flags = INFO_MEMORY | INFO_COMMAND_LINE | INFO_MODULES | INFO_MAP | INFO_LOADER_NAME;
    let mut info = vec![0; INFO_LEN as usize];
    let mut put = |offset: usize, value: u64| {
        info[offset..offset + 4].copy_from_slice(&low32(value));
    };
    put(0, u64::from(flags));
    put(4, EBDA.0 / KIB);
    put(8, upper);
    put(16, text_at);
    put(20, modules.len() as u64);
    put(24, list_at);
    put(44, map_bytes.len() as u64);
    put(48, map_at);
    put(64, loader_at);
    info.extend(tail);
    info
}

/// Everything the block names lies below 4 GiB.
fn low32(value: u64) -> [u8; 4] {
    (value as u32).to_le_bytes()
}
