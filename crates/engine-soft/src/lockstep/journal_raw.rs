//! Copies of the pages of RAM that a stretch of code writes, taken before the first write to each.

use crate::mmu::PAGE_MASK;
use crate::mmu::access_raw::copy_forward;

const PAGE: usize = 0x1000;

type Bytes = Box<[u8; PAGE]>;

/// A page and what it was.
#[derive(Debug)]
struct Page {
    gpa: u64,
    host: u64,
    before: Bytes,
    /// What translated code made of it.
    after: Option<Bytes>,
}

/// The pages written since [`Journal::begin`].
#[derive(Debug, Default)]
pub(crate) struct Journal {
    active: bool,
    pages: Vec<Page>,
    /// Buffers that can be used again.
    spare: Vec<Bytes>,
    /// TLB slots that allow direct writes to these pages.
    slots: Vec<usize>,
    /// A page with decoded code was written, or one that is logged.
    told: bool,
}

fn read(host: u64, into: &mut [u8; PAGE]) {
    // SAFETY: `host` is a page of mapped RAM, as the MMU's regions are while the vCPU lives.
    unsafe { copy_forward(into.as_mut_ptr() as u64, host, PAGE) };
}

impl Journal {
    pub(crate) fn begin(&mut self) {
        self.active = true;
        self.told = false;
    }

    /// Forgets all pages. Answers the TLB slots that may not allow direct writes any more.
    pub(crate) fn end(&mut self) -> Vec<usize> {
        self.active = false;
        for page in self.pages.drain(..) {
            self.spare.push(page.before);
            self.spare.extend(page.after);
        }
        std::mem::take(&mut self.slots)
    }

    pub(crate) fn was_told(&self) -> bool {
        self.told
    }

    pub(crate) fn count(&self) -> usize {
        self.pages.len()
    }

    fn buffer(&mut self) -> Bytes {
        self.spare.pop().unwrap_or_else(|| Box::new([0; PAGE]))
    }

    /// The page of RAM at `gpa`, at host address `host`, is about to be written. `plain` says that
    /// nobody else is told of it.
    pub(crate) fn write(&mut self, gpa: u64, host: u64, plain: bool) {
        if !self.active {
            return;
        }
        self.told |= !plain;
        let gpa = gpa & PAGE_MASK;
        if self.pages.iter().any(|page| page.gpa == gpa) {
            return;
        }
        let mut before = self.buffer();
        let host = host & PAGE_MASK;
        read(host, &mut before);
        self.pages.push(Page {
            gpa,
            host,
            before,
            after: None,
        });
    }

    /// May the page be written directly from now on, by way of this TLB slot?
    pub(crate) fn allows(&mut self, gpa: u64, slot: usize) -> bool {
        let known = self.active && self.pages.iter().any(|page| page.gpa == gpa & PAGE_MASK);
        if known {
            self.slots.push(slot);
        }
        known
    }

    /// A page walk has set `bits` in the entry at `gpa`, for good.
    pub(crate) fn keep_bits(&mut self, gpa: u64, bits: u64) {
        let at = (gpa & !PAGE_MASK) as usize;
        for page in self
            .pages
            .iter_mut()
            .filter(|page| page.gpa == gpa & PAGE_MASK)
        {
            for copy in [Some(&mut page.before), page.after.as_mut()]
                .into_iter()
                .flatten()
            {
                for (n, byte) in bits.to_le_bytes().into_iter().enumerate().take(PAGE - at) {
                    copy[at + n] |= byte;
                }
            }
        }
    }

    /// Puts every page back, and remembers what it had become.
    pub(crate) fn roll_back(&mut self) {
        for n in 0..self.pages.len() {
            let mut after = match self.pages[n].after.take() {
                Some(after) => after,
                None => self.buffer(),
            };
            let page = &mut self.pages[n];
            read(page.host, &mut after);
            // Only what was changed, so that others' writes stay where they are.
            let words = page.before.chunks_exact(8).zip(after.chunks_exact(8));
            for (at, (before, _)) in words.enumerate().filter(|(_, (b, a))| b != a) {
                // SAFETY: eight bytes inside a page of mapped RAM.
                unsafe { copy_forward(page.host + at as u64 * 8, before.as_ptr() as u64, 8) };
            }
            page.after = Some(after);
        }
    }

    /// Bytes that are not now what they were at the last [`Journal::roll_back`]: guest-physical address,
    /// then and now. No more than `most`.
    pub(crate) fn differences(&mut self, most: usize) -> Vec<(u64, u8, u8)> {
        let mut found = Vec::new();
        let mut now = self.buffer();
        for page in &self.pages {
            read(page.host, &mut now);
            let after = page.after.as_ref().unwrap_or(&page.before);
            if after == &now {
                continue;
            }
            let bytes = after.iter().zip(now.iter()).enumerate();
            let differing = bytes.filter(|(_, (a, b))| a != b);
            found.extend(differing.map(|(at, (a, b))| (page.gpa + at as u64, *a, *b)));
        }
        self.spare.push(now);
        found.truncate(most);
        found
    }
}
