//! Where a command's data lies: pages that two entries name, or an entry and a list of them.
//! Spec: NVM Express 1.4, "Physical Region Page Entry and List".

use memory::GuestMemory;
use vm_memory::{Bytes, GuestAddress};

use super::command::{Command, Status};
use super::queues::PAGE;

/// The most that a command moves, as a power of two of pages, and in bytes.
pub(super) const MOST_PAGES_POWER: u8 = 5;
pub(super) const MOST_DATA: usize = 4096 << MOST_PAGES_POWER;
const ENTRY: u64 = 8;

/// Copies `data` to the command's memory.
pub(super) fn give(memory: &GuestMemory, command: &Command, data: &[u8]) -> Result<(), Status> {
    each(memory, command, data.len(), |at, range| {
        memory.ram().write_slice(&data[range], at).is_ok()
    })
}

/// Copies the command's memory to `data`.
pub(super) fn take(memory: &GuestMemory, command: &Command, data: &mut [u8]) -> Result<(), Status> {
    each(memory, command, data.len(), |at, range| {
        memory.ram().read_slice(&mut data[range], at).is_ok()
    })
}

/// Calls `with` for each piece of memory that `len` bytes lie in; `len` is at most [`MOST_DATA`].
fn each(
    memory: &GuestMemory,
    command: &Command,
    len: usize,
    mut with: impl FnMut(GuestAddress, std::ops::Range<usize>) -> bool,
) -> Result<(), Status> {
    let [first, second] = command.prp;
    let in_page = |at: u64| usize::try_from(PAGE - at % PAGE).unwrap_or(0);
    let mut done = len.min(in_page(first));
    if !with(GuestAddress(first), 0..done) {
        return Err(Status::DataTransfer);
    }
    let page = in_page(0);
    let mut list = List { at: second };
    while done < len {
        let left = len - done;
        // The second entry is the last page, or a list of all that are left.
        let at = if left <= page && done <= page && done == len.min(in_page(first)) {
            second
        } else {
            list.next(memory, left > page)?
        };
        if !at.is_multiple_of(PAGE) {
            return Err(Status::InvalidPrpOffset);
        }
        let count = left.min(page);
        if !with(GuestAddress(at), done..done + count) {
            return Err(Status::DataTransfer);
        }
        done += count;
    }
    Ok(())
}

/// A list of pages; the last entry of a page of it leads to the next, where there are more.
struct List {
    at: u64,
}

impl List {
    fn next(&mut self, memory: &GuestMemory, more: bool) -> Result<u64, Status> {
        if !self.at.is_multiple_of(ENTRY) {
            return Err(Status::InvalidPrpOffset);
        }
        if more && self.at % PAGE == PAGE - ENTRY {
            self.at = self.read(memory)?;
            if !self.at.is_multiple_of(ENTRY) {
                return Err(Status::InvalidPrpOffset);
            }
        }
        let entry = self.read(memory)?;
        self.at = self.at.wrapping_add(ENTRY);
        Ok(entry)
    }

    fn read(&self, memory: &GuestMemory) -> Result<u64, Status> {
        let entry = memory.ram().read_obj::<u64>(GuestAddress(self.at));
        entry.map(u64::from_le).map_err(|_| Status::DataTransfer)
    }
}
