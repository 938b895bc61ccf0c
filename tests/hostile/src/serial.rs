//! What this guest has to say, on the first serial port.

use crate::hardware_raw::output;

const PORT: u16 = 0x3f8;

pub(crate) fn say(text: &[u8]) {
    // Noise may have left the port in any mode: no interrupts, 8 bits, no loop.
    for (register, value) in [(3, 3), (1, 0), (2, 0), (4, 3)] {
        output(PORT + register, 1, value);
    }
    for byte in text {
        output(PORT, 1, u32::from(*byte));
    }
}
