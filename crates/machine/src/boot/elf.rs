//! ELF files as kernels: program headers, and the PVH note. Spec: System V ABI, "Object Files".

use memory::Gpa;

use super::ImageError;
use super::bytes::{slice_at, u8_at, u16_at, u32_at, u64_at};
use super::content::{Content, inside};
use super::error::Fault;
use super::place::Piece;

const MAGIC: [u8; 4] = *b"\x7fELF";
const CLASS_32: u8 = 1;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const MACHINE_386: u16 = 3;
const MACHINE_X86_64: u16 = 62;
const LOAD: u32 = 1;
const NOTE: u32 = 4;
/// That of 64 bits.
const LONGEST_HEADER: u64 = 64;
const WHAT: &str = "the ELF header";
const WHAT_PROGRAM: &str = "an ELF program header";
const MAX_NOTE: u64 = 1 << 20;
/// Real kernels have a handful of program headers.
const MAX_PROGRAM_HEADERS: u16 = 128;

/// XEN_ELFNOTE_PHYS32_ENTRY. Spec: Xen public/elfnote.h.
const PHYS32_ENTRY: u32 = 18;
/// XEN_ELFNOTE_GUEST_OS.
const GUEST_OS: u32 = 6;

/// An ELF executable, ready to be placed at its physical addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    pub pieces: Vec<Piece>,
    pub entry: u64,
    /// The 32-bit physical entry that a Xen note names.
    pub pvh_entry: Option<u64>,
    /// A 64-bit Linux kernel, as a Xen note says, whose entry is that of its boot protocol.
    pub linux: bool,
}

#[must_use]
pub(super) fn is_elf(file: &[u8]) -> bool {
    file.starts_with(&MAGIC)
}

#[derive(Debug, Clone, Copy)]
struct ProgramHeader {
    kind: u32,
    offset: u64,
    physical: u64,
    virtual_address: u64,
    file_size: u64,
    memory_size: u64,
    align: u64,
}

impl Elf {
    /// # Errors
    /// When it is no ELF executable for x86, or its headers point outside the file.
    pub fn parse(file: &[u8]) -> Result<Elf, ImageError> {
        Elf::of(&file).map_err(|fault| match fault {
            Fault::Image(error) => error,
            // Bytes can be read.
            Fault::File(_) => ImageError::Unknown,
        })
    }

    /// The same of a file that need not be in memory.
    pub(super) fn of(file: &impl Content) -> Result<Elf, Fault> {
        let head = file.bytes(0, file.len().min(LONGEST_HEADER), WHAT)?;
        let long = is_long(&head)?;
        let entry = match long {
            true => u64_at(&head, 24, WHAT)?,
            false => u64::from(u32_at(&head, 24, WHAT)?),
        };
        let mut elf = Elf {
            pieces: Vec::new(),
            entry,
            pvh_entry: None,
            linux: false,
        };
        for header in program_headers(file, &head, long)? {
            match header.kind {
                LOAD if header.memory_size > 0 => {
                    elf.pieces.push(piece(file, header)?);
                    if let Some(physical) = physical(header, entry) {
                        elf.entry = physical;
                    }
                }
                NOTE => {
                    let found = notes(file, header)?;
                    elf.pvh_entry = elf.pvh_entry.or(found.pvh_entry);
                    elf.linux |= found.linux && long;
                }
                _ => {}
            }
        }
        if elf.pieces.is_empty() {
            return Err(damaged("the ELF file has nothing to load").into());
        }
        Ok(elf)
    }

    /// One past the highest byte of memory that the file fills.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.pieces.iter().map(Piece::end).max().unwrap_or(0)
    }
}

fn damaged(what: &'static str) -> ImageError {
    ImageError::Damaged { what }
}

/// Is it one of 64 bits? Refuses what is none for x86.
fn is_long(head: &[u8]) -> Result<bool, ImageError> {
    if !is_elf(head) {
        return Err(ImageError::Unknown);
    }
    let long = match u8_at(head, 4, WHAT)? {
        CLASS_32 => false,
        CLASS_64 => true,
        _ => return Err(damaged("the ELF file is of no known class")),
    };
    if u8_at(head, 5, WHAT)? != LITTLE_ENDIAN {
        let what = "a big-endian ELF file";
        return Err(ImageError::Unsupported { what });
    }
    if !matches!(u16_at(head, 18, WHAT)?, MACHINE_386 | MACHINE_X86_64) {
        let what = "an ELF file for another processor than x86";
        return Err(ImageError::Unsupported { what });
    }
    Ok(long)
}

/// The physical address of a virtual entry point inside this segment.
fn physical(header: ProgramHeader, entry: u64) -> Option<u64> {
    let offset = entry.checked_sub(header.virtual_address)?;
    (offset < header.memory_size).then(|| header.physical.wrapping_add(offset))
}

fn program_headers(
    file: &impl Content,
    head: &[u8],
    long: bool,
) -> Result<Vec<ProgramHeader>, Fault> {
    let (table, entry_size, count) = match long {
        true => (
            u64_at(head, 32, WHAT)?,
            u16_at(head, 54, WHAT)?,
            u16_at(head, 56, WHAT)?,
        ),
        false => (
            u64::from(u32_at(head, 28, WHAT)?),
            u16_at(head, 42, WHAT)?,
            u16_at(head, 44, WHAT)?,
        ),
    };
    if entry_size < if long { 56 } else { 32 } {
        return Err(damaged("the ELF program headers are too small").into());
    }
    if count > MAX_PROGRAM_HEADERS {
        return Err(damaged("the ELF file has more program headers than any kernel").into());
    }
    let mut headers = Vec::new();
    for index in 0..u64::from(count) {
        let at = table
            .checked_add(index * u64::from(entry_size))
            .ok_or(damaged("the ELF program headers lie outside the file"))?;
        let raw = file.bytes(at, u64::from(entry_size), WHAT_PROGRAM)?;
        headers.push(program_header(&raw, long)?);
    }
    Ok(headers)
}

fn program_header(raw: &[u8], long: bool) -> Result<ProgramHeader, ImageError> {
    let word = |at| u32_at(raw, at, WHAT_PROGRAM).map(u64::from);
    let quad = |at| u64_at(raw, at, WHAT_PROGRAM);
    let kind = u32_at(raw, 0, WHAT_PROGRAM)?;
    Ok(match long {
        true => ProgramHeader {
            kind,
            offset: quad(8)?,
            virtual_address: quad(16)?,
            physical: quad(24)?,
            file_size: quad(32)?,
            memory_size: quad(40)?,
            align: quad(48)?,
        },
        false => ProgramHeader {
            kind,
            offset: word(4)?,
            virtual_address: word(8)?,
            physical: word(12)?,
            file_size: word(16)?,
            memory_size: word(20)?,
            align: word(28)?,
        },
    })
}

fn piece(file: &impl Content, header: ProgramHeader) -> Result<Piece, ImageError> {
    if header.file_size > header.memory_size {
        return Err(damaged(
            "an ELF segment is larger in the file than in memory",
        ));
    }
    if header.physical.checked_add(header.memory_size).is_none() {
        return Err(damaged("an ELF segment ends beyond the address space"));
    }
    inside(file, header.offset, header.file_size, "an ELF segment")?;
    Ok(Piece {
        at: Gpa(header.physical),
        from: header.offset,
        len: header.file_size,
        memory_len: header.memory_size,
    })
}

/// What Xen's notes say.
#[derive(Debug, Default)]
struct Notes {
    pvh_entry: Option<u64>,
    linux: bool,
}

/// Looks for Xen's notes. Those of others are stepped over.
fn notes(file: &impl Content, header: ProgramHeader) -> Result<Notes, Fault> {
    const WHAT_NOTE: &str = "an ELF note";
    let len = header.file_size.min(MAX_NOTE);
    let notes = &file.bytes(header.offset, len, WHAT_NOTE)?[..];
    // Notes in a segment aligned to eight are padded to eight (gABI), all others to four.
    let align = if header.align == 8 { 8 } else { 4 };
    let mut at: u64 = 0;
    let mut found = Notes::default();
    while at + 12 <= notes.len() as u64 {
        let name_size = u64::from(u32_at(notes, at, WHAT_NOTE)?);
        let size = u64::from(u32_at(notes, at + 4, WHAT_NOTE)?);
        let kind = u32_at(notes, at + 8, WHAT_NOTE)?;
        let name_at = at + 12;
        let value_at = (name_at + name_size).next_multiple_of(align);
        let is_xen = slice_at(notes, name_at, name_size, WHAT_NOTE)? == b"Xen\0";
        if is_xen && kind == PHYS32_ENTRY && found.pvh_entry.is_none() {
            found.pvh_entry = Some(match size {
                4 => u64::from(u32_at(notes, value_at, WHAT_NOTE)?),
                8 => u64_at(notes, value_at, WHAT_NOTE)?,
                _ => return Err(damaged("the PVH note has no address").into()),
            });
        }
        if is_xen && kind == GUEST_OS {
            found.linux = slice_at(notes, value_at, size, WHAT_NOTE)? == b"linux\0";
        }
        at = (value_at + size).next_multiple_of(align);
    }
    Ok(found)
}
