//! Which address space a translation belongs to: PCIDs as the guest names them, numbers as we do.
//!
//! What is looked up out of line (the TLB's second level, the pages that code is fetched from) has the
//! number of its space in the low bits of its tag, which a page's address leaves free. So a change of
//! address space empties none of it, and forgetting a whole space is taking a new number for it: what
//! had the old one is found no more and makes room as others need it. Global translations have a
//! number of their own. What is looked up inline (the first level, the jump tables of the supervisor)
//! has no room for numbers, and loses what is not global; the jump table of user mode keeps spaces
//! apart by where in the table they are (`translate::jumps_raw`).
//!
//! Guests without PCIDs use PCID 0 for all, and take a new number with each load of CR3.
//!
//! Rejected: the guest's PCID itself as the number. Most flushes are of one PCID, and would look for
//! what has it.
//!
//! Spec: Intel SDM Vol. 3, "Process-Context Identifiers (PCIDs)" and "Operations that Invalidate TLBs
//! and Paging-Structure Caches".

/// Numbers there are, the first unused. When all have been given, all spaces are flushed.
pub(crate) const NUMBERS: usize = 1 << 10;
/// PCIDs there are.
const PCIDS: usize = 1 << 12;

/// In tags of global translations in place of a number.
pub(crate) const GLOBAL: u64 = 0x800;
/// In the tag of an entry that is empty, and in no other.
pub(crate) const NOBODY: u64 = 0x400;

/// Numbers, a bit each.
pub(crate) type Numbers = [u64; NUMBERS / 64];

#[derive(Debug)]
#[repr(C)]
pub(crate) struct Spaces {
    /// Number of the current space, which translated code adds to tags.
    pub(crate) number: u64,
    /// The last that was given.
    last: u16,
    pcid: u16,
    /// By PCID. Zero: nothing is known of it.
    numbers: Box<[u16]>,
    /// Numbers of spaces that were forgotten. The unused number is nobody's, and not one of them.
    pub(super) dead: Numbers,
}

impl Spaces {
    pub(super) fn new() -> Spaces {
        let mut spaces = Spaces {
            number: 0,
            last: 0,
            pcid: 0,
            numbers: vec![0; PCIDS].into_boxed_slice(),
            dead: [0; NUMBERS / 64],
        };
        spaces.forget_all();
        spaces
    }

    /// The bits in tags of translations of the current space, or of global ones.
    pub(super) fn bits(&self, global: bool) -> u64 {
        if global { GLOBAL } else { self.number }
    }

    pub(super) fn pcid(&self) -> u16 {
        self.pcid
    }

    /// The number of a PCID's space, if anything is known of it.
    pub(super) fn number_of(&self, pcid: u16) -> Option<u64> {
        let number = self.numbers[usize::from(pcid) % PCIDS];
        (number != 0).then_some(number.into())
    }

    /// Changes to `pcid`. Answers whether there was a number for it; without, what is known goes.
    #[must_use]
    pub(super) fn enter(&mut self, pcid: u16) -> bool {
        self.pcid = pcid;
        let slot = &mut self.numbers[usize::from(pcid) % PCIDS];
        if *slot == 0 {
            self.last += 1;
            if usize::from(self.last) >= NUMBERS {
                return false;
            }
            *slot = self.last;
        }
        self.number = (*slot).into();
        true
    }

    /// Forgets what is known of `pcid`, but for global translations. The current one has to be entered
    /// again.
    pub(super) fn forget(&mut self, pcid: u16) {
        let number = std::mem::take(&mut self.numbers[usize::from(pcid) % PCIDS]);
        if number != 0 {
            self.dead[usize::from(number) / 64] |= 1 << (number % 64);
        }
    }

    /// Likewise of all.
    pub(super) fn forget_each(&mut self) {
        self.numbers.fill(0);
        for number in 1..=usize::from(self.last).min(NUMBERS - 1) {
            self.dead[number / 64] |= 1 << (number % 64);
        }
    }

    /// Everything was flushed: numbers are given from the first again.
    pub(super) fn forget_all(&mut self) {
        self.numbers.fill(0);
        self.dead = [0; NUMBERS / 64];
        self.last = 1;
        self.numbers[usize::from(self.pcid) % PCIDS] = 1;
        self.number = 1;
    }

    /// Everything will be flushed, and `pcid` is the current one.
    pub(super) fn start(&mut self, pcid: u16) {
        self.pcid = pcid;
    }
}

#[cfg(test)]
mod tests;
