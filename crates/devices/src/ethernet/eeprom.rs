//! The serial EEPROM of 64 words that cards have their address in, by its wires.
//! Spec: 93C46 datasheet, "READ": a start bit, two bits of command, six of address; then a zero and the
//! word, each bit after a rising clock.

use serde::{Deserialize, Serialize};

pub(super) const WORDS: usize = 64;
const READ: u16 = 0b110;
/// A start bit, a command, an address.
const COMMAND_BITS: u8 = 9;
/// A zero and a word.
const ANSWER_BITS: u8 = 17;

/// The inputs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wires {
    pub(super) select: bool,
    pub(super) clock: bool,
    pub(super) data: bool,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Microwire {
    clock: bool,
    /// What was shifted in since the start bit.
    command: u16,
    bits: u8,
    /// What is shifted out, its next bit on top.
    answer: u32,
    left: u8,
    output: bool,
}

impl Microwire {
    /// The inputs are now so. Words can be read only: an address is not the guest's to write.
    pub(super) fn set(&mut self, wires: Wires, words: &[u16; WORDS]) {
        if !wires.select {
            *self = Microwire {
                clock: wires.clock,
                output: true,
                ..Microwire::default()
            };
            return;
        }
        let rises = wires.clock && !self.clock;
        self.clock = wires.clock;
        if !rises {
            return;
        }
        if self.left > 0 {
            self.next_out();
        } else if self.bits > 0 || wires.data {
            self.command = self.command << 1 | u16::from(wires.data);
            self.bits = self.bits.saturating_add(1);
            if self.bits >= COMMAND_BITS {
                self.execute(words);
            }
        }
    }

    /// What it says.
    pub(super) fn output(&self) -> bool {
        self.output
    }

    fn execute(&mut self, words: &[u16; WORDS]) {
        if self.command >> 6 == READ {
            let word = words[usize::from(self.command & 0x3f)];
            // Its zero comes with the last bit of the address.
            self.answer = u32::from(word);
            self.left = ANSWER_BITS;
            self.next_out();
        }
        self.command = 0;
        self.bits = 0;
    }

    fn next_out(&mut self) {
        self.left = self.left.min(ANSWER_BITS).saturating_sub(1);
        self.output = self.answer >> self.left & 1 != 0;
    }
}
