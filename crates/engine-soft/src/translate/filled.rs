//! Which entries of the jump tables a linear page may have, so that a flush of the page looks at
//! those alone.
//!
//! Entries are noted as they are filled, by a hash of the page, and not taken out when they go: a
//! list that has grown is asked which of its entries are still there.

use crate::mmu::PAGE_MASK;

const LISTS: usize = 2048;
/// A list this long is not looked through yet.
const SHORT: usize = 32;

#[derive(Debug)]
pub(super) struct Filled {
    lists: Box<[Vec<u32>]>,
}

fn list_of(gla: u64) -> usize {
    (gla >> 12 ^ gla >> 23) as usize % LISTS
}

impl Filled {
    pub(super) fn none() -> Filled {
        Filled {
            lists: vec![Vec::new(); LISTS].into_boxed_slice(),
        }
    }

    /// The entry at `place` was filled for `gla`. `address` answers what an entry is filled for now.
    pub(super) fn note(&mut self, gla: u64, place: u32, address: impl Fn(u32) -> Option<u64>) {
        let number = list_of(gla);
        let list = &mut self.lists[number];
        if list.len() == list.capacity() && list.len() >= SHORT {
            list.sort_unstable();
            list.dedup();
            list.retain(|&place| address(place).is_some_and(|gla| list_of(gla) == number));
            // Those that are left were no fewer: the list doubles.
            list.reserve(list.len().max(SHORT));
        }
        list.push(place);
    }

    /// Takes out the entries of the page of `gla`, and shows them to `drop`.
    pub(super) fn take_page(
        &mut self,
        gla: u64,
        address: impl Fn(u32) -> Option<u64>,
        mut drop: impl FnMut(u32),
    ) {
        let number = list_of(gla);
        // An entry may be in there twice, and is its old self until all have been looked at.
        let list = &mut self.lists[number];
        let mut gone = Vec::new();
        list.retain(|&place| match address(place) {
            Some(other) if (other ^ gla) & PAGE_MASK == 0 => {
                gone.push(place);
                false
            }
            Some(other) => list_of(other) == number,
            None => false,
        });
        gone.into_iter().for_each(&mut drop);
    }

    pub(super) fn clear(&mut self) {
        self.lists.iter_mut().for_each(Vec::clear);
    }
}

#[cfg(test)]
mod tests;
