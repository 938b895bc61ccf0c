//! Where a command's data lies. Spec: AHCI 1.3.1, "Command Table", "Physical Region Descriptor Table".

use std::ops::Range;

use memory::GuestMemory;
use vm_memory::{Bytes, GuestAddress};

const ENTRY_LEN: u64 = 16;
/// Bytes of a region, less one.
const LEN_MASK: u32 = 0x3f_ffff;

/// Why not everything was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// There are no more regions.
    Short,
    /// A region is none of RAM.
    Memory,
}

/// The table of regions, as far as it has been used up.
#[derive(Debug)]
pub(super) struct Scatter<'a> {
    memory: &'a GuestMemory,
    next: u64,
    entries: u16,
    at: u64,
    left: usize,
    /// Bytes that were moved.
    pub(super) moved: u32,
}

impl<'a> Scatter<'a> {
    pub(super) fn new(memory: &'a GuestMemory, table: u64, entries: u16) -> Scatter<'a> {
        Scatter {
            memory,
            next: table,
            entries,
            at: 0,
            left: 0,
            moved: 0,
        }
    }

    /// Copies `data` to the next bytes.
    pub(super) fn give(&mut self, data: &[u8]) -> Result<(), Stopped> {
        let memory = self.memory;
        self.each(data.len(), |at, range| {
            memory.ram().write_slice(&data[range], at).is_ok()
        })
    }

    /// Fills `data` with the next bytes.
    pub(super) fn take(&mut self, data: &mut [u8]) -> Result<(), Stopped> {
        let memory = self.memory;
        self.each(data.len(), |at, range| {
            memory.ram().read_slice(&mut data[range], at).is_ok()
        })
    }

    fn each(
        &mut self,
        len: usize,
        mut with: impl FnMut(GuestAddress, Range<usize>) -> bool,
    ) -> Result<(), Stopped> {
        let mut done = 0;
        while done < len {
            if self.left == 0 {
                self.load()?;
            }
            let count = self.left.min(len - done);
            if !with(GuestAddress(self.at), done..done + count) {
                return Err(Stopped::Memory);
            }
            done += count;
            self.at = self.at.wrapping_add(count as u64);
            self.left -= count;
            self.moved = self.moved.wrapping_add(count as u32);
        }
        Ok(())
    }

    fn load(&mut self) -> Result<(), Stopped> {
        self.entries = self.entries.checked_sub(1).ok_or(Stopped::Short)?;
        let entry = self
            .memory
            .ram()
            .read_obj::<[u32; 4]>(GuestAddress(self.next));
        let [low, high, _, len] = entry.map_err(|_| Stopped::Memory)?.map(u32::from_le);
        self.next = self.next.wrapping_add(ENTRY_LEN);
        self.at = u64::from(high) << 32 | u64::from(low);
        // No region is empty, so that a table comes to an end.
        self.left = (len & LEN_MASK) as usize + 1;
        Ok(())
    }
}
