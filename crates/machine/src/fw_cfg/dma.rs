//! fw_cfg's DMA: a command in guest memory, done at once.

use vm_memory::{Bytes, GuestAddress};

use super::FwCfg;

const ERROR: u32 = 1 << 0;
const READ: u32 = 1 << 1;
const SKIP: u32 = 1 << 2;
const SELECT: u32 = 1 << 3;
const WRITE: u32 = 1 << 4;
/// More than any item has: behind its end an item reads as zeroes, of which nobody needs more.
const MOST: u32 = 16 << 20;

impl FwCfg {
    /// Does the command at `at`: control, length, address, each big-endian. The control word is cleared
    /// when it is done, or says that it failed.
    pub(super) fn transfer(&mut self, at: u64) {
        let Some(memory) = self.memory.clone() else {
            return;
        };
        let Ok(command) = memory.ram().read_obj::<[u8; 16]>(GuestAddress(at)) else {
            return;
        };
        let [c0, c1, c2, c3, l0, l1, l2, l3, address @ ..] = command;
        let control = u32::from_be_bytes([c0, c1, c2, c3]);
        let len = u32::from_be_bytes([l0, l1, l2, l3]);
        if control & SELECT != 0 {
            self.select((control >> 16) as u16);
        }
        let done = if control & READ != 0 {
            self.copy(u64::from_be_bytes(address), len)
        } else if control & WRITE != 0 {
            // No item can be written.
            None
        } else {
            if control & SKIP != 0 {
                self.skip(len.into());
            }
            Some(())
        };
        let answer: u32 = if done.is_some() { 0 } else { ERROR };
        // Where it could be read it can be written, unless the guest took the memory away meanwhile.
        let _ = memory
            .ram()
            .write_obj(answer.to_be_bytes(), GuestAddress(at));
    }

    fn copy(&mut self, to: u64, len: u32) -> Option<()> {
        let memory = self.memory.clone()?;
        let len = (len <= MOST).then_some(len as usize)?;
        let rest = self.rest();
        let mut bytes = rest[..rest.len().min(len)].to_vec();
        self.skip(bytes.len() as u64);
        bytes.resize(len, 0);
        memory.ram().write_slice(&bytes, GuestAddress(to)).ok()
    }
}
