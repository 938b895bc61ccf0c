//! What is made once in a process before the first instruction of a guest, and is the same in all processes:
//! tables of all instructions there are, some megabytes and milliseconds.

use iced_x86::{Decoder, DecoderOptions};

use crate::translate::Translator;

/// Room for a translator that translates nothing.
const ROOM: usize = 1 << 21;
const NOP: &[u8] = &[0x90];

/// Makes those, for processes that are forked from this one.
pub fn rehearse() {
    drop(Translator::new(0, false, ROOM));
    let _ = Decoder::with_ip(64, NOP, 0, DecoderOptions::NONE).decode();
}
