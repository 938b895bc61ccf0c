//! The page walk: none, 32-bit, PAE and 4-level paging, with accessed and dirty bits, NX, WP, SMEP,
//! SMAP and protection keys. Spec: Intel SDM Vol. 3, "Paging".

use x86::Exception;
use x86::exception::page_fault;
use x86::register::{cr0, cr4, efer};

use super::PAGE_MASK;
use super::access_raw::{physical_or, physical_read};
use crate::cpu::Cpu;

/// One access, as the permission checks see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    pub(crate) write: bool,
    pub(crate) fetch: bool,
    pub(crate) user: bool,
    /// A supervisor access that may touch user pages in spite of SMAP.
    pub(crate) open: bool,
}

/// Where a 4 KiB page of linear space is and what else may be done to it by the same accessor: the
/// guest-physical page with the flags below in its low bits.
///
/// One word, so that it is handed on in one piece. As a struct of several fields it was stored in
/// parts and loaded whole, for which the host waits until all older stores are done: the guest's own,
/// which had just missed every cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mapping(u64);

const WRITABLE: u64 = 1;
const READABLE: u64 = 2;
const GLOBAL: u64 = 4;
/// Mapped by a page of 2 or 4 MiB, or of 1 GiB.
const LARGE: u64 = 8;
const HUGE: u64 = 16;

impl Mapping {
    fn new(gpa: u64, shift: u32) -> Mapping {
        let size = match shift {
            12 => 0,
            30 => HUGE,
            _ => LARGE,
        };
        Mapping(gpa & PAGE_MASK | size)
    }

    fn with(self, flag: u64, wanted: bool) -> Mapping {
        Mapping(self.0 | if wanted { flag } else { 0 })
    }

    pub(crate) fn gpa(self) -> u64 {
        self.0 & PAGE_MASK
    }

    /// A write would be allowed and its dirty bit is set already.
    pub(crate) fn is_writable(self) -> bool {
        self.0 & WRITABLE != 0
    }

    pub(crate) fn is_readable(self) -> bool {
        self.0 & READABLE != 0
    }

    pub(crate) fn is_global(self) -> bool {
        self.0 & GLOBAL != 0
    }

    /// Of 2 or 4 MiB.
    pub(crate) fn is_large(self) -> bool {
        self.0 & LARGE != 0
    }

    /// Of 1 GiB.
    pub(crate) fn is_huge(self) -> bool {
        self.0 & HUGE != 0
    }
}

const P: u64 = 1 << 0;
const W: u64 = 1 << 1;
const U: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const G: u64 = 1 << 8;
const NX: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The entries used by a walk, root first, and what they add up to.
struct Path {
    entries: [(u64, u64); 4],
    depth: usize,
    user: bool,
    write: bool,
    nx: bool,
    wide: bool,
}

impl Path {
    fn push(&mut self, at: u64, entry: u64) {
        self.entries[self.depth] = (at, entry);
        self.depth += 1;
    }

    fn restrict(&mut self, entry: u64) {
        self.user &= entry & U != 0;
        self.write &= entry & W != 0;
        self.nx |= self.wide && entry & NX != 0;
    }

    fn leaf(&self) -> (u64, u64) {
        self.entries[self.depth - 1]
    }
}

/// Walks without changing anything: for debuggers.
pub(crate) fn peek(cpu: &Cpu, gla: u64) -> Option<u64> {
    if cpu.cr0 & cr0::PG == 0 {
        return Some(gla & 0xffff_ffff);
    }
    let mut path = Path::new(cpu);
    let shift = find(cpu, gla, &mut path).ok()?;
    let mask = (1u64 << shift) - 1;
    Some(frame(&path, shift) & !mask | gla & mask)
}

/// Translates `gla` for `access`, setting accessed and dirty bits.
pub(crate) fn walk(cpu: &mut Cpu, gla: u64, access: Access) -> Result<Mapping, Exception> {
    cpu.mmu.walks += 1;
    if cpu.cr0 & cr0::PG == 0 {
        return Ok(Mapping(gla & 0xffff_f000 | WRITABLE | READABLE | GLOBAL));
    }
    // A racing change of an entry between the look and the A/D update starts the walk again; after
    // so many lost races (another vCPU writing page tables in a loop) the stale entry is used.
    for _ in 0..64 {
        let mut path = Path::new(cpu);
        let shift = find(cpu, gla, &mut path).map_err(|bits| fault(cpu, gla, access, bits))?;
        check(cpu, &path, access).map_err(|bits| fault(cpu, gla, access, bits))?;
        if let Some(leaf) = mark(cpu, &path, access.write) {
            return Ok(mapping(cpu, gla, &path, leaf, shift, access));
        }
    }
    Err(fault(cpu, gla, access, 0))
}

impl Path {
    fn new(cpu: &Cpu) -> Path {
        let wide = cpu.cr4 & cr4::PAE != 0;
        Path {
            entries: [(0, 0); 4],
            depth: 0,
            user: true,
            write: true,
            nx: false,
            wide,
        }
    }
}

fn mapping(cpu: &Cpu, gla: u64, path: &Path, leaf: u64, shift: u32, access: Access) -> Mapping {
    let write = Access {
        write: true,
        fetch: false,
        ..access
    };
    let read = Access {
        write: false,
        fetch: false,
        ..access
    };
    let gpa = frame(path, shift) | gla & ((1u64 << shift) - 1);
    Mapping::new(gpa, shift)
        .with(WRITABLE, leaf & D != 0 && check(cpu, path, write).is_ok())
        .with(READABLE, check(cpu, path, read).is_ok())
        .with(GLOBAL, leaf & G != 0 && cpu.cr4 & cr4::PGE != 0)
}

/// Physical base of the page that the path's leaf maps.
fn frame(path: &Path, shift: u32) -> u64 {
    let (_, leaf) = path.leaf();
    if !path.wide && shift == 22 {
        // PSE-36: bits 39-32 of the frame are bits 20-13 of the entry.
        return leaf & 0xffc0_0000 | (leaf >> 13 & 0xff) << 32;
    }
    leaf & ADDRESS & !((1u64 << shift) - 1)
}

/// Follows the tables to the leaf. Errors are the page-fault bits P and RSVD.
fn find(cpu: &Cpu, gla: u64, path: &mut Path) -> Result<u32, u32> {
    if cpu.efer & efer::LMA != 0 {
        follow(cpu, gla, path, cpu.cr3 & ADDRESS, 4)
    } else if path.wide {
        let at = (cpu.cr3 & 0xffff_ffe0) + (gla >> 30 & 3) * 8;
        let entry = physical_read(cpu, at, 8);
        if entry & P == 0 {
            return Err(0);
        }
        // A PDPTE has no accessed bit and restricts nothing.
        follow(cpu, gla & 0x3fff_ffff, path, entry & ADDRESS, 2)
    } else {
        follow_narrow(cpu, gla, path)
    }
}

fn follow(cpu: &Cpu, gla: u64, path: &mut Path, root: u64, levels: u32) -> Result<u32, u32> {
    let mut table = root;
    for level in (1..=levels).rev() {
        let shift = 12 + 9 * (level - 1);
        let at = table + (gla >> shift & 0x1ff) * 8;
        let entry = physical_read(cpu, at, 8);
        if entry & P == 0 {
            return Err(0);
        }
        path.push(at, entry);
        path.restrict(entry);
        let leaf = level == 1 || entry & PS != 0;
        if entry & reserved(cpu, level, leaf) != 0 {
            return Err(page_fault::PRESENT | page_fault::RESERVED);
        }
        if leaf {
            return Ok(shift);
        }
        table = entry & ADDRESS;
    }
    Err(0)
}

/// Bits that must be zero in an entry of 8 bytes.
fn reserved(cpu: &Cpu, level: u32, leaf: bool) -> u64 {
    let mut bits = cpu.mmu.beyond_physical;
    if cpu.efer & efer::NXE == 0 {
        bits |= NX;
    }
    if cpu.efer & efer::LMA == 0 {
        bits |= 0x7ff0_0000_0000_0000;
    }
    match (level, leaf) {
        (2, true) => bits | 0x1f_e000,
        (3, true) if cpu.mmu.has_1g_pages => bits | 0x3fff_e000,
        (3, true) | (4, true) => bits | PS,
        _ => bits,
    }
}

fn follow_narrow(cpu: &Cpu, gla: u64, path: &mut Path) -> Result<u32, u32> {
    let at = (cpu.cr3 & 0xffff_f000) + (gla >> 22 & 0x3ff) * 4;
    let entry = physical_read(cpu, at, 4);
    if entry & P == 0 {
        return Err(0);
    }
    path.push(at, entry);
    path.restrict(entry);
    if entry & PS != 0 && cpu.cr4 & cr4::PSE != 0 {
        let reserved = 1 << 21 | cpu.mmu.beyond_physical >> 32 << 13 & 0x1f_e000;
        if entry & reserved != 0 {
            return Err(page_fault::PRESENT | page_fault::RESERVED);
        }
        return Ok(22);
    }
    let at = (entry & 0xffff_f000) + (gla >> 12 & 0x3ff) * 4;
    let entry = physical_read(cpu, at, 4);
    if entry & P == 0 {
        return Err(0);
    }
    path.push(at, entry);
    path.restrict(entry);
    Ok(12)
}

/// The permission check. Errors are the page-fault bits P and PK: what rights and key deny is told
/// of both, whichever would do.
fn check(cpu: &Cpu, path: &Path, access: Access) -> Result<(), u32> {
    let mut bits = 0;
    if denied_by_rights(cpu, path, access) {
        bits |= page_fault::PRESENT;
    }
    if !access.fetch && denied_by_key(cpu, path, access) {
        bits |= page_fault::PRESENT | page_fault::PROTECTION_KEY;
    }
    if bits == 0 { Ok(()) } else { Err(bits) }
}

fn denied_by_rights(cpu: &Cpu, path: &Path, access: Access) -> bool {
    if access.fetch && path.nx && cpu.efer & efer::NXE != 0 {
        return true;
    }
    if access.user {
        return !path.user || access.write && !path.write;
    }
    if access.write && !path.write && cpu.cr0 & cr0::WP != 0 {
        return true;
    }
    let smep = access.fetch && cpu.cr4 & cr4::SMEP != 0;
    let smap = !access.fetch && !access.open && cpu.cr4 & cr4::SMAP != 0;
    path.user && (smep || smap)
}

fn denied_by_key(cpu: &Cpu, path: &Path, access: Access) -> bool {
    if cpu.efer & efer::LMA == 0 {
        return false;
    }
    let rights = match path.user {
        true if cpu.cr4 & cr4::PKE != 0 => u64::from(cpu.pkru),
        false if cpu.cr4 & cr4::PKS != 0 => cpu.msrs.pkrs,
        _ => return false,
    };
    let (_, leaf) = path.leaf();
    let bits = rights >> ((leaf >> 59 & 15) * 2);
    let write_denied = bits & 2 != 0 && (access.user || cpu.cr0 & cr0::WP != 0);
    bits & 1 != 0 || access.write && write_denied
}

/// Sets accessed bits, and the leaf's dirty bit for a write. `None` when an entry changed meanwhile.
fn mark(cpu: &mut Cpu, path: &Path, write: bool) -> Option<u64> {
    let mut leaf = 0;
    cpu.mmu.keys_seen |= path.leaf().1 >> 59 & 15 != 0;
    for (n, &(at, entry)) in path.entries[..path.depth].iter().enumerate() {
        let last = n + 1 == path.depth;
        let wanted = entry | A | if last && write { D } else { 0 };
        if wanted != entry && !physical_or(cpu, at, entry, wanted, path.wide) {
            return None;
        }
        if wanted != entry {
            cpu.mmu.keep_bits(at, wanted & !entry);
        }
        leaf = wanted;
    }
    Some(leaf)
}

fn fault(cpu: &Cpu, gla: u64, access: Access, bits: u32) -> Exception {
    let mut code = bits;
    if access.write {
        code |= page_fault::WRITE;
    }
    if access.user {
        code |= page_fault::USER;
    }
    let nx = cpu.efer & efer::NXE != 0 && cpu.cr4 & cr4::PAE != 0;
    if access.fetch && (nx || cpu.cr4 & cr4::SMEP != 0) {
        code |= page_fault::FETCH;
    }
    Exception::page_fault(code, gla)
}
