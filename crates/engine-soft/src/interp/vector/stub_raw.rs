//! Executable memory for native stubs, and the call into one.
//!
//! The memory is one memfd mapped twice: a writable view that only [`publish`] touches, and an
//! executable one, so that nothing is ever writable and executable at one address. Stubs are never
//! freed: decoded blocks point at them, and there are only so many different ones (see `template`).
//!
//! A template process forks into guests. The writable view is not inherited, so no child can
//! rewrite what its siblings execute; a child that needs a new stub starts memory of its own. Blocks
//! that come from another process point into its memory: a copy of that lies at the same address.

use std::fs::File;
use std::mem::{offset_of, transmute};
use std::process::id;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use crate::apart_raw::{reserve_apart, reserve_at};

/// Room for one process's stubs. Pages that are never written cost nothing.
pub(super) const ARENA_BYTES: usize = 16 << 20;

/// Where a stub finds what it works on beside vector registers. The offsets are part of the code
/// that `emit` writes.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(crate) struct Scratch {
    /// The memory operand, when it is not accessed in place.
    pub(crate) memory: [u8; 64],
    /// General registers of operands 0 to 2, then RAX, RCX and RDX where they are implied.
    pub(crate) gpr: [u64; 6],
    /// As `Cpu::status`.
    pub(crate) status: u16,
    /// MXCSR must be set back to the host's afterwards.
    pub(crate) restore: u16,
    pub(crate) mxcsr: u32,
    pub(crate) mxcsr_out: u32,
    pub(crate) mxcsr_host: u32,
}

/// What stubs of x87 instructions work on.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(crate) struct X87Scratch {
    pub(crate) common: Scratch,
    /// The whole x87 state, an FXSAVE area in its 64-bit form.
    pub(crate) image: [u8; 512],
}

/// As the host's own code runs: all exceptions masked, round to nearest.
pub(crate) const HOST_MXCSR: u32 = 0x1f80;

pub(crate) const GPR_AT: usize = offset_of!(Scratch, gpr);
pub(crate) const STATUS_AT: usize = offset_of!(Scratch, status);
pub(crate) const RESTORE_AT: usize = offset_of!(Scratch, restore);
pub(crate) const MXCSR_AT: usize = offset_of!(Scratch, mxcsr);
pub(crate) const MXCSR_OUT_AT: usize = offset_of!(Scratch, mxcsr_out);
pub(crate) const MXCSR_HOST_AT: usize = offset_of!(Scratch, mxcsr_host);
pub(crate) const X87_AT: usize = offset_of!(X87Scratch, image);

/// Memory operand, registers of operands 0 to 3, scratch.
type Stub = unsafe extern "sysv64" fn(*mut u8, *mut u8, *mut u8, *mut u8, *mut u8, *mut Scratch);

/// The address of published code. Only [`publish`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry(u64);

impl Entry {
    /// For keeping in an `Op`.
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
struct Arena {
    /// Writable view.
    write: usize,
    /// Executable view of the same bytes.
    execute: u64,
    used: usize,
    owner: u32,
}

static ARENA: Mutex<Option<Arena>> = Mutex::new(None);
/// Where others' lie, of the template's or copied, and how many bytes they have.
static OTHERS: Mutex<Vec<(u64, usize)>> = Mutex::new(Vec::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|broken| broken.into_inner())
}

/// Where stubs run, and their bytes.
pub(crate) fn arenas() -> Vec<(u64, &'static [u8])> {
    let arena = locked(&ARENA);
    let own = arena.iter().map(|arena| (arena.execute, arena.used));
    let others = locked(&OTHERS);
    let all = own.chain(others.iter().copied());
    let bytes = |(at, len)| {
        // SAFETY: published code can be read, stays as it is, and is never unmapped.
        let bytes = unsafe { std::slice::from_raw_parts(at as *const u8, len) };
        (at, bytes)
    };
    all.map(bytes).collect()
}

/// Has a copy of another process's stubs, `len` bytes of a file from `from` on, run where they ran there. False
/// where something is, or the host refuses it.
pub(crate) fn adopt_arena(file: &File, address: u64, from: u64, len: usize) -> bool {
    let own = locked(&ARENA);
    let is_own = |arena: &Arena| arena.execute == address && len <= arena.used;
    if own.as_ref().is_some_and(is_own) {
        return true;
    }
    drop(own);
    let mut others = locked(&OTHERS);
    // More processors than one have the same, and relatives have the template's.
    let is_there = |&(at, known): &(u64, usize)| at == address && len <= known;
    if others.iter().any(is_there) {
        return true;
    }
    let Some(place) = reserve_at(address, len) else {
        return false;
    };
    let (protection, flags) = (
        ProtFlags::READ | ProtFlags::EXEC,
        MapFlags::PRIVATE | MapFlags::FIXED,
    );
    // SAFETY: the range was just reserved for this.
    if unsafe { mmap(place, len, protection, flags, file, from) }.is_err() {
        // SAFETY: likewise, and nobody knows of it.
        let _ = unsafe { munmap(place, len) };
        return false;
    }
    others.push((address, len));
    true
}

/// Makes `code` executable. `None` when the host gives no executable memory, or no more fits.
pub(crate) fn publish(code: &[u8]) -> Option<Entry> {
    let mut arena = locked(&ARENA);
    if arena.as_ref().is_none_or(|arena| arena.owner != id()) {
        let before = std::mem::replace(&mut *arena, Arena::new());
        locked(&OTHERS).extend(before.map(|it| (it.execute, it.used)));
    }
    let arena = arena.as_mut()?;
    // A stub starts on a cache line of its own and does not share one with bytes written later.
    let start = arena.used.next_multiple_of(64);
    let end = start.checked_add(code.len())?;
    if end > ARENA_BYTES {
        return None;
    }
    // SAFETY: `start..end` lies in the writable view, and nothing has been published there yet, so
    // no other thread reads or executes it.
    unsafe {
        std::ptr::copy_nonoverlapping(code.as_ptr(), (arena.write + start) as *mut u8, code.len());
    }
    arena.used = end;
    Some(Entry(arena.execute + start as u64))
}

impl Arena {
    fn new() -> Option<Arena> {
        // Kernels before 6.3 do not know MFD_EXEC and make every memfd executable.
        let fd = memfd_create("stubs", MemfdFlags::CLOEXEC | MemfdFlags::EXEC)
            .or_else(|_| memfd_create("stubs", MemfdFlags::CLOEXEC))
            .ok()?;
        ftruncate(&fd, ARENA_BYTES as u64).ok()?;
        let view = |at, protection, flags| {
            // SAFETY: a mapping at an address of the kernel's choice, or where a range was reserved for it.
            unsafe { mmap(at, ARENA_BYTES, protection, flags, &fd, 0) }.ok()
        };
        let place = reserve_apart(ARENA_BYTES)?;
        let (execute, write) = (
            ProtFlags::READ | ProtFlags::EXEC,
            ProtFlags::READ | ProtFlags::WRITE,
        );
        let execute = view(place, execute, MapFlags::SHARED | MapFlags::FIXED)?;
        let write = view(null_mut(), write, MapFlags::SHARED)?;
        // SAFETY: the range is the mapping just made; the advice only keeps it from children.
        unsafe { madvise(write, ARENA_BYTES, Advice::LinuxDontFork) }.ok()?;
        Some(Arena {
            write: write as usize,
            execute: execute as u64,
            used: 0,
            owner: id(),
        })
    }
}

/// Calls the stub at `entry`, which came from [`Entry::to_bits`].
///
/// # Safety
/// `entry` must be such a value, made by `emit` for an instruction whose memory operand is no longer
/// than what `memory` may be accessed for (in the direction it is accessed), and whose registers
/// are where its template says.
#[inline(always)]
pub(super) unsafe fn call(
    entry: u64,
    memory: *mut u8,
    vectors: [*mut u8; 4],
    scratch: *mut Scratch,
) {
    // SAFETY: published code is never unmapped, and `emit` keeps to this signature.
    let stub = unsafe { transmute::<u64, Stub>(entry) };
    let [v0, v1, v2, v3] = vectors;
    // SAFETY: the caller's promise.
    unsafe { stub(memory, v0, v1, v2, v3, scratch) };
}
