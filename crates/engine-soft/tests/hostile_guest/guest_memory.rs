//! Writing guest memory from outside.

use memory::GuestMemory;
use vm_memory::{Bytes, GuestAddress};

pub(crate) fn write(memory: &GuestMemory, at: u64, bytes: &[u8]) {
    let written = memory.ram().write_slice(bytes, GuestAddress(at));
    written.expect("inside RAM");
}
