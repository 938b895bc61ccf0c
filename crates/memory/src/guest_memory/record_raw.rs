//! The fork that writes a record.
//!
//! Between `fork` and `_exit` it is a copy of one thread of a process that had others: locks may be held by threads
//! that are not there. So it allocates nothing, and calls nothing but system calls: everything is made ready
//! before. Spec: fork(2), signal-safety(7).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::layers::SHORTEST_PERIOD;
use super::record::{ENTRY, HEADER, MOST_RUNS, TILES, ZERO, header, tile_of};
use crate::{PAGE_SHIFT, PAGE_SIZE};

const PAGE: usize = 1 << PAGE_SHIFT;
const ZEROS: [u8; PAGE] = [0; PAGE];
/// Zero pages between others that are worth no run of their own, where no layer is below.
const GAP: u64 = 8;
/// Pages that are all the same from which on it is worth saying so.
const MANY: usize = 32;
const _: () = assert!(MANY as u64 == 2 * SHORTEST_PERIOD);
/// Bytes that are written at once.
const AT_ONCE: usize = 1 << 20;

/// A child of this process.
#[derive(Debug)]
pub(super) struct Child(libc::pid_t);

impl Child {
    /// Waits for its end.
    pub(super) fn reap(&self) {
        let mut status = 0;
        // SAFETY: it is a child of ours that nobody else waits for, and `status` is there to be written to.
        while unsafe { libc::waitpid(self.0, &raw mut status, 0) } < 0
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
}

/// What a fork works on. Runs are written here first: `entries` has room for all that there may be.
struct Work<'a> {
    now: &'a [(*const u8, usize)],
    old: Option<&'a [(*const u8, usize)]>,
    pages: i32,
    index: i32,
    entries: Vec<[u64; 2]>,
}

/// Forks. The child tells `end` how it went, as an `i32`: an error's number, or 0.
pub(super) fn fork(
    now: &[(*const u8, usize)],
    old: Option<&[(*const u8, usize)]>,
    pages: &File,
    index: &File,
    end: &OwnedFd,
) -> io::Result<Child> {
    let count: usize = now.iter().map(|(_, len)| len / PAGE).sum();
    let mut work = Work {
        now,
        old,
        pages: pages.as_raw_fd(),
        index: index.as_raw_fd(),
        entries: Vec::with_capacity(count.min(MOST_RUNS)),
    };
    let end = end.as_raw_fd();
    let mut kept = [work.pages, work.index, end];
    kept.sort_unstable();
    // SAFETY: the child does nothing but what this module's head says, and ends.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: system calls on plain values. Who closes these descriptors has nobody else's.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // Sockets and locks are the guest's, and shall go with it.
                close_all_but(kept);
                let told = work.write().to_le_bytes();
                libc::write(end, told.as_ptr().cast(), told.len());
                libc::_exit(0)
            }
        }
        pid => Ok(Child(pid)),
    }
}

/// # Safety
/// Only in a child that uses no others.
unsafe fn close_all_but(kept: [i32; 3]) {
    let mut from = 0;
    for fd in kept {
        if from < fd {
            // SAFETY: the caller's.
            unsafe { libc::close_range(from.cast_unsigned(), (fd - 1).cast_unsigned(), 0) };
        }
        from = fd + 1;
    }
    // SAFETY: the caller's.
    unsafe { libc::close_range(from.cast_unsigned(), u32::MAX, 0) };
}

/// What a page is to a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Page {
    /// As the record says by saying nothing.
    Same,
    Zero,
    Data,
}

impl Work<'_> {
    /// Answers an error's number, or 0.
    fn write(&mut self) -> i32 {
        let mut before = 0;
        for region in 0..self.now.len() {
            if let Err(errno) = self.write_region(region, before) {
                return errno;
            }
            before += (self.now[region].1 / PAGE) as u64;
        }
        self.write_index(before).err().unwrap_or(0)
    }

    /// Data is written in long pieces. `before` counts the pages of earlier regions.
    fn write_region(&mut self, region: usize, before: u64) -> Result<(), i32> {
        let (host, len) = self.now[region];
        let old = self.old.and_then(|old| old.get(region)).map(|old| old.0);
        let mut at = 0;
        while at < len {
            let begin = at;
            let mut kind = look(host, old, at);
            if kind == Page::Data {
                let same = self.repeated(region, at);
                if same >= MANY {
                    let (tile, bits) = tile_of(same as u64);
                    let page = before + (at / PAGE) as u64;
                    self.entries.push([page, same as u64 | bits]);
                    let tile = usize::try_from(tile).unwrap_or(same).min(same);
                    // SAFETY: `same` pages lie in the region, as they were counted.
                    let bytes = unsafe { std::slice::from_raw_parts(host.add(at), tile * PAGE) };
                    write_all(self.pages, bytes, before * PAGE_SIZE + at as u64)?;
                    at += same * PAGE;
                    continue;
                }
            }
            while kind == Page::Data && at - begin < AT_ONCE {
                self.note(before + (at / PAGE) as u64, kind)?;
                at += PAGE;
                kind = if at >= len || self.repeats(region, at) {
                    Page::Same
                } else {
                    look(host, old, at)
                };
            }
            if at > begin {
                // SAFETY: `begin..at` lies in the region, which is mapped and which nobody writes to.
                let bytes = unsafe { std::slice::from_raw_parts(host.add(begin), at - begin) };
                write_all(self.pages, bytes, before * PAGE_SIZE + begin as u64)?;
            } else {
                self.note(before + (at / PAGE) as u64, kind)?;
                at += PAGE;
            }
        }
        Ok(())
    }

    /// How many pages from `at` on are the same as the one there, and other than below.
    fn repeated(&self, region: usize, at: usize) -> usize {
        if !self.has_room() {
            return 1;
        }
        let (host, len) = self.now[region];
        let old = self.old.and_then(|old| old.get(region)).map(|old| old.0);
        // SAFETY: pages of a mapped region, in a process in which nobody writes to it.
        let page = |at: usize| unsafe { &*host.add(at).cast::<[u8; PAGE]>() };
        let mut next = at + PAGE;
        while next < len && page(next) == page(at) && look(host, old, next) == Page::Data {
            next += PAGE;
        }
        (next - at) / PAGE
    }

    /// Does a long row of the same begin there? Most pages differ from the next in their first bytes.
    fn repeats(&self, region: usize, at: usize) -> bool {
        let (host, len) = self.now[region];
        let last = at + (MANY - 1) * PAGE;
        if last >= len {
            return false;
        }
        // SAFETY: pages of a mapped region, in a process in which nobody writes to it.
        let page = |at: usize| unsafe { &*host.add(at).cast::<[u8; PAGE]>() };
        page(at) == page(at + PAGE) && page(at) == page(last) && self.repeated(region, at) >= MANY
    }

    /// Rows of the same need runs of their own; a record of many does without.
    fn has_room(&self) -> bool {
        self.entries.len() < self.entries.capacity() / 2
    }

    /// Adds a page to the last run, or begins one.
    fn note(&mut self, page: u64, kind: Page) -> Result<(), i32> {
        let zero = match kind {
            Page::Same => return Ok(()),
            Page::Zero => ZERO,
            Page::Data => 0,
        };
        let full = self.entries.len() == self.entries.capacity();
        if let Some([first, count]) = self.entries.last_mut() {
            let between = page - *first - (*count & !(ZERO | TILES));
            // Without a layer below, what lies between is a hole of the file's, so zero.
            let near = between == 0 || self.old.is_none() && (full || between <= GAP);
            if near && *count & (ZERO | TILES) == zero {
                *count = (page + 1 - *first) | zero;
                return Ok(());
            }
        }
        if full {
            return Err(libc::E2BIG);
        }
        self.entries.push([page, 1 | zero]);
        Ok(())
    }

    fn write_index(&self, pages: u64) -> Result<(), i32> {
        let mut at = HEADER as u64;
        for chunk in self.entries.chunks(PAGE / ENTRY) {
            let mut bytes = [0; PAGE];
            for (to, [first, count]) in bytes.chunks_exact_mut(ENTRY).zip(chunk) {
                to[..8].copy_from_slice(&first.to_le_bytes());
                to[8..].copy_from_slice(&count.to_le_bytes());
            }
            let len = chunk.len() * ENTRY;
            write_all(self.index, &bytes[..len], at)?;
            at += len as u64;
        }
        let repeated = self.entries.iter().any(|[_, count]| count & TILES != 0);
        let head = header(pages, self.entries.len() as u64, repeated);
        write_all(self.index, &head, 0)
    }
}

fn look(now: *const u8, old: Option<*const u8>, at: usize) -> Page {
    // SAFETY: a page of a mapped region, in a process in which nobody writes to it.
    let now = unsafe { &*now.add(at).cast::<[u8; PAGE]>() };
    // SAFETY: likewise, of a region of the same length.
    let old = old.map(|old| unsafe { &*old.add(at).cast::<[u8; PAGE]>() });
    match old {
        Some(old) if now == old => Page::Same,
        None if *now == ZEROS => Page::Same,
        Some(_) if *now == ZEROS => Page::Zero,
        _ => Page::Data,
    }
}

/// All of it, or an error's number.
fn write_all(fd: i32, mut bytes: &[u8], mut at: u64) -> Result<(), i32> {
    while !bytes.is_empty() {
        let offset = libc::off_t::try_from(at).map_err(|_| libc::EFBIG)?;
        // SAFETY: `bytes` is there to be read.
        let done = unsafe { libc::pwrite(fd, bytes.as_ptr().cast(), bytes.len(), offset) };
        let Ok(done) = usize::try_from(done) else {
            // SAFETY: each thread has an `errno`.
            let errno = unsafe { *libc::__errno_location() };
            if errno == libc::EINTR {
                continue;
            }
            return Err(errno);
        };
        if done == 0 {
            return Err(libc::ENOSPC);
        }
        bytes = bytes.get(done..).unwrap_or_default();
        at += done as u64;
    }
    Ok(())
}
