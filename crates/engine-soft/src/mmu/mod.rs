//! From linear address to host memory: a software TLB over the page walk.
//!
//! Four sets of entries, chosen by who accesses: user; supervisor; supervisor that may touch user
//! pages (SMAP off, or AC set); and one that is never filled, for code under alignment checking,
//! which must see every access. An entry is a direct host pointer for a kind of access; what may
//! not be direct (MMIO, clean pages under the dirty log, pages with a data breakpoint, accesses that
//! cross a page) misses by construction and takes the slow path. So do writes to pages with decoded
//! code, of which [`beside`] sees to those that write data alone.

pub(crate) mod access_raw;
pub(crate) mod beside;
mod claims;
mod flush;
mod large_seen;
pub(crate) mod marks;
pub(crate) mod second_raw;
pub(crate) mod slow;
pub(crate) mod spaces;
pub(crate) mod used;
pub(crate) mod walk;
mod writers;

use std::sync::Arc;

use beside::Beside;
use large_seen::LargeSeen;
use marks::Marks;
use memory::{GuestMemory, Lines, PageKind, PageTracker};
use second_raw::Second;
use spaces::Spaces;
use used::Used;
use vm_regions::Region;
use x86::cpuid::CpuidTable;

use crate::lockstep::journal_raw::Journal;

mod vm_regions;

pub(crate) const PAGE_MASK: u64 = !0xfff;
pub(crate) const SET_ENTRIES: usize = 1024;
pub(crate) const FETCH_ENTRIES: usize = 512;

/// The tag of an empty entry in `slot` of its set: a page whose entry is elsewhere. So no address
/// that is looked up here lies in that page, nor the end of an access that begins here.
const fn no_tag(slot: usize) -> u64 {
    (((slot ^ (SET_ENTRIES / 2)) % SET_ENTRIES) << 12) as u64
}

/// How memory is accessed. Reads and writes have entries of their own, so that a copy between two
/// pages that share a slot finds both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Read,
    /// Written, or read and written.
    Write,
}

impl Way {
    pub(crate) const ALL: [Way; 2] = [Way::Read, Way::Write];
}

/// Who accesses: index of the TLB set.
pub(crate) mod set {
    pub(crate) const USER: usize = 0;
    pub(crate) const SUPERVISOR: usize = 1;
    pub(crate) const SUPERVISOR_OPEN: usize = 2;
    pub(crate) const CHECKED: usize = 3;
    pub(super) const SETS: usize = 4;
}

/// An entry of the first level.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct Entry {
    /// The linear page.
    pub(crate) tag: u64,
    /// From linear addresses in the page to the host's. An access can wait for this alone, and add it to
    /// the register that its address comes from.
    pub(crate) distance: u64,
}

impl Entry {
    const fn new(page: u64, host: u64) -> Entry {
        Entry {
            tag: page,
            distance: host.wrapping_sub(page),
        }
    }

    /// Host address of linear address `gla` in the page.
    #[inline(always)]
    fn host_of(&self, gla: u64) -> u64 {
        gla.wrapping_add(self.distance)
    }

    /// Host address of the page. Zero where the entry is empty.
    fn host(&self) -> u64 {
        self.tag.wrapping_add(self.distance)
    }
}

/// What a page walk found of a page of RAM, and what may be done to it directly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) gpa: u64,
    pub(crate) host: u64,
    pub(crate) global: bool,
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// Host addresses of an access whose last bytes may lie in another page.
#[derive(Debug, Clone, Copy)]
struct Parts {
    /// Bytes in the first page.
    here: u64,
    first: u64,
    second: u64,
}

impl Parts {
    /// Where byte `n` is.
    fn byte(self, n: u64) -> u64 {
        if n < self.here {
            self.first + n
        } else {
            self.second + (n - self.here)
        }
    }
}

const fn empty(slot: usize) -> Entry {
    Entry::new(no_tag(slot), 0)
}

/// Entries of the first level for one way of access.
const WAY_ENTRIES: usize = SET_ENTRIES * set::SETS;
const ENTRIES: usize = 2 * WAY_ENTRIES;

static ALL_EMPTY: [Entry; ENTRIES] = {
    let mut entries = [empty(0); ENTRIES];
    let mut place = 0;
    while place < entries.len() {
        entries[place] = empty(place % SET_ENTRIES);
        place += 1;
    }
    entries
};

/// Slot of a linear address in its set.
fn slot(gla: u64) -> usize {
    (gla >> 12) as usize & (SET_ENTRIES - 1)
}

/// Place of the first entry of a set.
pub(crate) const fn first(way: Way, set: usize) -> usize {
    way as usize * WAY_ENTRIES + set * SET_ENTRIES
}

/// Place of the entry for a linear address.
fn place(way: Way, set: usize, gla: u64) -> usize {
    first(way, set) + slot(gla)
}

/// Where instruction bytes of a linear page are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchEntry {
    /// The linear page, and the number of its address space.
    tag: u64,
    pub(crate) gpa: u64,
    kind: FetchKind,
}

/// What matters for flushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FetchKind {
    pub(crate) global: bool,
    /// Mapped by a large page.
    pub(crate) large: bool,
}

const NO_FETCH: FetchEntry = FetchEntry {
    tag: spaces::NOBODY,
    gpa: 0,
    kind: FetchKind {
        global: false,
        large: false,
    },
};

/// What was flushed since translated code's jumps were told.
#[derive(Debug, Default)]
struct Flushed {
    all: bool,
    /// What is not global, by a change of address space.
    local: bool,
    /// All that user mode jumps to, since spaces have their numbers anew.
    user: bool,
    /// Single pages, the first `count`.
    pages: [u64; 4],
    count: usize,
    /// The large page of this address, whatever its size.
    large: Option<u64>,
}

impl Flushed {
    fn large(&mut self, gla: u64) {
        if self.large.is_some() {
            self.all = true;
        }
        self.large = Some(gla);
    }

    fn page(&mut self, gla: u64) {
        match self.pages.get_mut(self.count) {
            Some(page) => {
                *page = gla;
                self.count += 1;
            }
            None => self.all = true,
        }
    }
}

#[derive(Debug)]
#[repr(C)]
pub(crate) struct Mmu {
    /// In place, since translated code finds them from the vCPU's own address.
    pub(crate) entries: [Entry; ENTRIES],
    pub(crate) marks: Marks,
    pub(crate) beside: Beside,
    pub(crate) spaces: Spaces,
    pub(crate) second: Second,
    /// The set in use.
    pub(crate) current: usize,
    fetch: Box<[FetchEntry]>,
    fetch_used: Used,
    pub(crate) fetch_current: usize,
    regions: Vec<Region>,
    /// Translated code's jumps are to be told of a flush.
    news: bool,
    flushed: Flushed,
    /// Of guests in lockstep only.
    journal: Option<Box<Journal>>,
    large_seen: LargeSeen,
    /// Physical-address bits that do not exist.
    pub(crate) beyond_physical: u64,
    pub(crate) has_1g_pages: bool,
    pub(crate) walks: u64,
    /// A page with a protection key other than 0 may be cached.
    pub(crate) keys_seen: bool,
}

/// Slot of a tag among those of its privilege.
fn fetch_slot(tag: u64) -> usize {
    (tag >> 12 ^ tag.wrapping_mul(0x25)) as usize & (FETCH_ENTRIES - 1)
}

/// All that an entry may be for.
fn ways_and_sets() -> impl Iterator<Item = (Way, usize)> {
    (0..set::CHECKED).flat_map(|set| Way::ALL.map(|way| (way, set)))
}

impl Mmu {
    pub(crate) fn new(cpuid: &CpuidTable) -> Mmu {
        let width = cpuid
            .find(0x8000_0008, 0)
            .map_or(40, |entry| entry.eax & 0xff)
            .clamp(36, 52);
        Mmu {
            entries: ALL_EMPTY,
            marks: Marks::none(),
            beside: Beside::none(),
            spaces: Spaces::new(),
            second: Second::new(),
            current: 0,
            fetch_used: Used::none(FETCH_ENTRIES * 2),
            fetch: vec![NO_FETCH; FETCH_ENTRIES * 2].into_boxed_slice(),
            fetch_current: 0,
            regions: Vec::new(),
            news: false,
            flushed: Flushed::default(),
            journal: None,
            large_seen: LargeSeen::none(),
            beyond_physical: 0x000f_ffff_ffff_ffff & !((1 << width) - 1),
            has_1g_pages: cpuid
                .find(0x8000_0001, 0)
                .is_some_and(|e| e.edx & 1 << 26 != 0),
            walks: 0,
            keys_seen: false,
        }
    }

    /// The journal of writes. From the first time that it is asked for, nothing is written directly
    /// but what it knows.
    pub(crate) fn journal(&mut self) -> &mut Journal {
        self.journal.get_or_insert_default()
    }

    pub(crate) fn has_journal(&self) -> bool {
        self.journal.is_some()
    }

    /// `lines` of the page at `gpa` are about to be written.
    pub(crate) fn note_in_journal(&mut self, gpa: u64, lines: Lines) {
        let Some(mut journal) = self.journal.take() else {
            return;
        };
        if let Some(region) = self.region(gpa) {
            let plain = !region.tracker.guarded(region.page(gpa)).meets(lines);
            journal.write(gpa, region.host + (gpa - region.base), plain);
        }
        self.journal = Some(journal);
    }

    /// A page walk has set `bits` of the table entry at `gpa`.
    pub(crate) fn keep_bits(&mut self, gpa: u64, bits: u64) {
        if let Some(journal) = &mut self.journal {
            journal.keep_bits(gpa, bits);
        }
    }

    /// May the TLB allow direct writes to the page through linear page `gla`?
    pub(crate) fn may_write_directly(&mut self, gpa: u64, set: usize, gla: u64) -> bool {
        self.journal
            .as_mut()
            .is_none_or(|journal| journal.allows(gpa, place(Way::Write, set, gla)))
    }

    /// What the journal knew may not be written directly any more.
    pub(crate) fn end_journal(&mut self) {
        for place in self.journal().end() {
            self.entries[place] = empty(place % SET_ENTRIES);
        }
        self.beside.clear();
    }

    /// Learns where RAM is.
    pub(crate) fn map(&mut self, memory: &GuestMemory) {
        self.regions = vm_regions::regions(memory);
        self.flush_all();
    }

    /// Chooses the TLB set for the current privilege and flags.
    pub(crate) fn select(&mut self, user: bool, smap: bool, ac: bool) {
        self.current = match (user, smap && !ac) {
            (true, _) => set::USER,
            (false, true) => set::SUPERVISOR,
            (false, false) => set::SUPERVISOR_OPEN,
        };
        self.fetch_current = if user { FETCH_ENTRIES } else { 0 };
    }

    /// From now on every access takes the slow path, which checks alignment.
    pub(crate) fn select_checked(&mut self) {
        self.current = set::CHECKED;
    }

    /// Which of [`set`] is in use.
    pub(crate) fn current_set(&self) -> usize {
        self.current
    }

    /// The guest-physical page that instruction bytes at `gla` come from, if cached, and how it is
    /// mapped.
    pub(crate) fn fetch_mapping(&self, gla: u64) -> Option<(u64, FetchKind)> {
        let entry = self.fetch_entry(gla)?;
        Some((entry.gpa, entry.kind))
    }

    #[inline]
    fn fetch_entry(&self, gla: u64) -> Option<&FetchEntry> {
        // User pages are mostly local ones, others mostly global.
        let kinds = [self.fetch_current != 0, self.fetch_current == 0];
        kinds.into_iter().find_map(|local| {
            let tag = gla & PAGE_MASK | self.spaces.bits(!local);
            let entry = &self.fetch[self.fetch_current + fetch_slot(tag)];
            (entry.tag == tag).then_some(entry)
        })
    }

    pub(crate) fn is_checked(&self) -> bool {
        self.current == set::CHECKED
    }

    /// Puts in what was found of linear page `page`, and takes out what is no longer so. An access as
    /// `asked` follows; the other way is left to the second level.
    fn fill(&mut self, set: usize, page: u64, found: Found, asked: Way) {
        let host = found.host;
        let tag = page | self.spaces.bits(found.global);
        if found.write {
            self.note_writer(page, tag, found.gpa);
        }
        for (way, allowed) in [(Way::Read, found.read), (Way::Write, found.write)] {
            let place = place(way, set, page);
            // A copy made by translated code would allow writes that the journal does not know of.
            let first_only = self.journal.is_some();
            if !allowed {
                self.second.drop_way(way, set, tag);
            } else if !first_only {
                self.second.fill(way, set, second_raw::Entry { tag, host });
            }
            if allowed && (way == asked || first_only) {
                self.entries[place] = Entry::new(page, host);
                self.marks.note(place, found.global);
            } else if self.entries[place].tag == page {
                self.entries[place] = empty(slot(page));
            }
        }
    }

    /// The guest-physical page that instruction bytes at `gla` come from, if cached.
    #[inline]
    pub(crate) fn fetch_page(&self, gla: u64) -> Option<u64> {
        self.fetch_entry(gla).map(|entry| entry.gpa)
    }

    /// A page of more than 4 KiB was found at `gla`.
    pub(crate) fn note_large(&mut self, gla: u64, huge: bool) {
        self.large_seen.note(gla, huge);
    }

    pub(crate) fn fill_fetch(&mut self, gla: u64, gpa: u64, kind: FetchKind) {
        let tag = gla & PAGE_MASK | self.spaces.bits(kind.global);
        let slot = self.fetch_current + fetch_slot(tag);
        let gpa = gpa & PAGE_MASK;
        self.fetch[slot] = FetchEntry { tag, gpa, kind };
        self.fetch_used.note(slot, kind.global);
    }

    /// The memory at `gpa`, if there is any.
    pub(crate) fn region(&self, gpa: u64) -> Option<&Region> {
        self.regions
            .iter()
            .find(|region| gpa.wrapping_sub(region.base) < region.len)
            .filter(|region| region.kind(gpa) != PageKind::Hidden)
    }

    /// The same, where it can be written.
    pub(crate) fn writable(&self, gpa: u64) -> Option<&Region> {
        let region = self.region(gpa);
        region.filter(|region| region.kind(gpa) == PageKind::Ram)
    }

    fn region_mut(&mut self, gpa: u64) -> Option<&mut Region> {
        self.regions
            .iter_mut()
            .find(|region| gpa.wrapping_sub(region.base) < region.len)
    }

    /// Host address for an access of `len` bytes at `gla` inside one page, with the current privilege,
    /// if it may be done in place. What only the second level knows, the first does afterwards.
    fn direct(&mut self, way: Way, gla: u64, len: u64) -> Option<u64> {
        let (page, offset) = (gla & PAGE_MASK, gla & !PAGE_MASK);
        if self.current == set::CHECKED || offset + len > 0x1000 {
            return None;
        }
        let place = place(way, self.current, gla);
        if self.entries[place].tag != page {
            match self.find_second(way, page) {
                Some((host, global)) => {
                    self.entries[place] = Entry::new(page, host);
                    self.marks.note(place, global);
                }
                None if way == Way::Write => return self.beside(gla, len),
                None => return None,
            }
        }
        Some(self.entries[place].host() + offset)
    }

    /// The same of an access that may go on in the page at `next`: where its parts are, and how long the
    /// first is.
    fn direct_parts(&mut self, way: Way, gla: u64, next: u64, len: u64) -> Option<Parts> {
        let here = len.min(0x1000 - (gla & !PAGE_MASK));
        let first = self.direct(way, gla, here)?;
        let second = match len - here {
            0 => 0,
            rest => self.direct(way, next, rest)?,
        };
        Some(Parts {
            here,
            first,
            second,
        })
    }

    /// The host's address of a page in the second level, and whether it is mapped globally.
    fn find_second(&mut self, way: Way, page: u64) -> Option<(u64, bool)> {
        [false, true].into_iter().find_map(|global| {
            let tag = page | self.spaces.bits(global);
            let host = self.second.find(way, self.current, tag)?;
            Some((host, global))
        })
    }

    /// Host address for a write of `len` bytes at `gla`, with the current privilege, to what lies beside
    /// code.
    pub(crate) fn beside(&self, gla: u64, len: u64) -> Option<u64> {
        self.beside
            .find(self.current_set(), gla, len, self.spaces.number)
    }

    /// How often code of the page of RAM at `gpa` died.
    pub(crate) fn generation(&self, gpa: u64) -> Option<u32> {
        let (tracker, index) = self.tracker(gpa)?;
        tracker.generation(index)
    }

    /// Handle to the page tracker of the RAM at `gpa` and the page's index in it.
    pub(crate) fn tracker(&self, gpa: u64) -> Option<(&Arc<PageTracker>, usize)> {
        let region = self.region(gpa)?;
        Some((&region.tracker, region.page(gpa)))
    }
}
