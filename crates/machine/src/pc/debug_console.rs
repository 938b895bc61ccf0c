//! The port that firmware says what it does to. Spec: SeaBIOS docs/Debugging.md, "Diagnostic information";
//! QEMU's isa-debugcon.

use std::fmt;
use std::io::Write;

use devices::{Device, DeviceState, PortRange, RestoreError, decode_state, encode_state};

pub(crate) const PORTS: [PortRange; 1] = [PortRange {
    first: 0x402,
    count: 1,
    offset: 0,
}];

const KIND: &str = "debug-console";
const VERSION: u16 = 1;
/// What a read answers, so that firmware knows that somebody listens.
const THERE: u64 = 0xe9;

pub(crate) struct DebugConsole {
    output: Box<dyn Write + Send>,
}

impl DebugConsole {
    #[must_use]
    pub(crate) fn new(output: Box<dyn Write + Send>) -> DebugConsole {
        DebugConsole { output }
    }
}

impl fmt::Debug for DebugConsole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DebugConsole").finish_non_exhaustive()
    }
}

impl Device for DebugConsole {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, _offset: u64, _size: u8) -> u64 {
        THERE
    }

    fn write(&mut self, _offset: u64, _size: u8, value: u64) {
        // Nobody who reads is no reason to stop.
        let _ = self.output.write_all(&[value.to_le_bytes()[0]]);
    }

    fn reset(&mut self) {}

    fn save(&self) -> DeviceState {
        encode_state(KIND, VERSION, &())
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        decode_state(KIND, VERSION, state)
    }
}
