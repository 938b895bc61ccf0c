//! What is gone through in a frame: its entry of the list, queues, and transfers. Spec: UHCI Design Guide 1.1, "Frame
//! List Pointer", "Queue Head (QH)", "Transfer Queuing".
//!
//! A driver may make a ring of queues, so that a frame's time is used to its end. A virtual frame has no end of its own:
//! it is over when nothing is left that could move, or when as much was done as it has room for.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use vm_memory::{Bytes, GuestAddress};

use super::Uhci;
use super::registers::Fatal;
use super::transactions::{Transfer, Turn};

/// Of a link: there is none; it leads to a queue; the transfer's queue is gone on with.
const END: u32 = 1 << 0;
const QUEUE: u32 = 1 << 1;
const DEPTH: u32 = 1 << 2;
const ADDRESS: u32 = !0xf;

/// Links that are followed in a frame, and packets that are moved, which on a wire would be 19 of 64 bytes.
const MOST_LINKS: usize = 1024;
const MOST_PACKETS: usize = 256;

/// How far a look at one or more frames has come.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Links that were followed since something moved: what lies behind them has nothing to do now, in whatever frame.
    /// So the queues that all frames have in common are gone through once, and rings have an end.
    seen: HashSet<u32>,
    links: usize,
    packets: usize,
    moved: bool,
}

impl Look {
    fn begin_frame(&mut self) {
        (self.links, self.packets, self.moved) = (0, 0, false);
    }

    /// Is this link followed?
    fn follows(&mut self, link: u32) -> bool {
        self.links += 1;
        link & END == 0
            && self.links <= MOST_LINKS
            && self.packets < MOST_PACKETS
            && self.seen.insert(link)
    }

    /// A transfer had its turn.
    fn count(&mut self, turn: Turn) {
        if turn != Turn::Idle {
            self.packets += 1;
        }
        if matches!(turn, Turn::Done | Turn::Stopped | Turn::Missed) {
            self.moved = true;
            self.seen.clear();
        }
    }
}

impl Uhci {
    /// Goes through the frame that is due. Answers whether something moved.
    pub(super) fn run_frame(&mut self, look: &mut Look) -> bool {
        look.begin_frame();
        if let Err(why) = self.follow(look) {
            self.registers.fail(why);
        }
        look.moved
    }

    fn follow(&mut self, look: &mut Look) -> Result<(), Fatal> {
        let mut link = self.read(self.registers.entry())?;
        while look.follows(link) {
            let at = link & ADDRESS;
            link = if link & QUEUE != 0 {
                self.run_queue(at, look)?
            } else {
                let transfer = self.transfer(at)?;
                let turn = self.run_transfer(&transfer, false)?;
                look.count(turn);
                transfer.link
            };
        }
        Ok(())
    }

    /// A queue's turn. Answers the link to what comes next.
    fn run_queue(&mut self, at: u32, look: &mut Look) -> Result<u32, Fatal> {
        let element_at = u64::from(at) + 4;
        let next = self.read(at.into())?;
        let mut element = self.read(element_at)?;
        if element & (END | QUEUE) == QUEUE {
            // A queue in a queue.
            return Ok(element);
        }
        while element & END == 0 && look.packets < MOST_PACKETS {
            let transfer = self.transfer(element & ADDRESS)?;
            let turn = self.run_transfer(&transfer, true)?;
            look.count(turn);
            if turn != Turn::Done {
                break;
            }
            element = transfer.link;
            self.write(element_at, element)?;
            if element & DEPTH == 0 || element & QUEUE != 0 {
                break;
            }
        }
        Ok(next)
    }

    fn transfer(&self, at: u32) -> Result<Transfer, Fatal> {
        let word = |index: u64| self.read(u64::from(at) + 4 * index);
        // Before what it says is there.
        let control = word(1)?;
        Ok(Transfer {
            at: at.into(),
            link: word(0)?,
            control,
            token: word(2)?,
            buffer: word(3)?,
        })
    }

    fn read(&self, at: u64) -> Result<u32, Fatal> {
        let word = self.memory.ram().load(GuestAddress(at), Ordering::Acquire);
        word.map_err(|_| Fatal::System)
    }

    pub(super) fn write(&self, at: u64, word: u32) -> Result<(), Fatal> {
        let ram = self.memory.ram();
        let written = ram.store(word, GuestAddress(at), Ordering::Release);
        written.map_err(|_| Fatal::System)
    }
}
