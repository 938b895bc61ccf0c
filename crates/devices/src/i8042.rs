//! Keyboard controller (Intel 8042) with a PS/2 keyboard and mouse (I/O ports 60h and 64h).
//!
//! Spec: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device
//! Controller"; what Linux's i8042 driver asks of one.
//!
//! The controller holds one byte for the guest. When it is read, the next is fetched: first what
//! the controller itself has to say, then the keyboard, then the mouse.

mod keyboard;
mod mouse;
pub(crate) mod translation;

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::keyboard::Keyboard;
use self::mouse::Mouse;
pub use self::mouse::MouseEvent;
use self::translation::Translator;
use crate::ports::{read_bytes, write_bytes};
use crate::{
    Device, DeviceState, Line, Lines, PortRange, RestoreError, decode_state, encode_state,
};

/// Data, and status or command.
pub const PORTS: [PortRange; 2] = [
    PortRange {
        first: 0x60,
        count: 1,
        offset: 0,
    },
    PortRange {
        first: 0x64,
        count: 1,
        offset: 4,
    },
];

const KIND: &str = "i8042";
const VERSION: u16 = 1;

/// More replies than any command has.
const MAX_REPLIES: usize = 8;

const STATUS_OUTPUT_FULL: u8 = 1 << 0;
const STATUS_SYSTEM: u8 = 1 << 2;
const STATUS_COMMAND: u8 = 1 << 3;
const STATUS_UNLOCKED: u8 = 1 << 4;
const STATUS_FROM_MOUSE: u8 = 1 << 5;

const MODE_KEYBOARD_INTERRUPT: u8 = 1 << 0;
const MODE_MOUSE_INTERRUPT: u8 = 1 << 1;
const MODE_KEYBOARD_OFF: u8 = 1 << 4;
const MODE_MOUSE_OFF: u8 = 1 << 5;
const MODE_TRANSLATE: u8 = 1 << 6;

/// Output port: active low reset, the A20 gate, and the two interrupts.
const OUTPUT_NO_RESET: u8 = 1 << 0;
const OUTPUT_A20: u8 = 1 << 1;
const OUTPUT_KEYBOARD_FULL: u8 = 1 << 4;
const OUTPUT_MOUSE_FULL: u8 = 1 << 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Output {
    byte: u8,
    from_mouse: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct I8042StateV1 {
    /// The controller's RAM; byte 0 is the command byte.
    ram: [u8; 32],
    output: Option<Output>,
    replies: VecDeque<Output>,
    /// The command whose data byte comes next.
    command: Option<u8>,
    /// The last write was to the command port.
    command_written: bool,
    a20: bool,
    translator: Translator,
    keyboard: Keyboard,
    mouse: Mouse,
}

/// Controller, keyboard and mouse. Lines are IRQ1 and IRQ12.
#[derive(Debug)]
pub struct I8042 {
    state: I8042StateV1,
    irq1: Arc<dyn Line>,
    irq12: Arc<dyn Line>,
    lines: Arc<dyn Lines>,
}

/// As firmware leaves it: tested, translating, keyboard interrupt on, mouse off, A20 open.
fn at_reset() -> I8042StateV1 {
    let mut ram = [0; 32];
    ram[0] = MODE_TRANSLATE | MODE_MOUSE_OFF | STATUS_SYSTEM | MODE_KEYBOARD_INTERRUPT;
    I8042StateV1 {
        ram,
        output: None,
        replies: VecDeque::new(),
        command: None,
        command_written: false,
        a20: true,
        translator: Translator::default(),
        keyboard: Keyboard::default(),
        mouse: Mouse::default(),
    }
}

impl I8042 {
    #[must_use]
    pub fn new(irq1: Arc<dyn Line>, irq12: Arc<dyn Line>, lines: Arc<dyn Lines>) -> I8042 {
        I8042 {
            state: at_reset(),
            irq1,
            irq12,
            lines,
        }
    }

    /// One key going down or up, as its whole sequence of set 2 scan codes. `false` when the
    /// keyboard's buffer has no room for all of it: the key is lost, as on a real one.
    pub fn key(&mut self, scancodes: &[u8]) -> bool {
        let taken = self.state.keyboard.key(scancodes);
        self.fetch();
        taken
    }

    /// A movement or a change of buttons.
    pub fn mouse(&mut self, event: MouseEvent) {
        self.state.mouse.moved(event);
        self.fetch();
    }

    fn mode(&self) -> u8 {
        self.state.ram[0]
    }

    fn set_mode(&mut self, mode: u8) {
        self.state.ram[0] = mode;
    }

    /// Fills the output buffer if it is empty, and drives the interrupts.
    fn fetch(&mut self) {
        if self.state.output.is_none() {
            self.state.output = self.next_output();
        }
        let (full, from_mouse) = match self.state.output {
            Some(output) => (true, output.from_mouse),
            None => (false, false),
        };
        let mode = self.mode();
        let keyboard = full && !from_mouse && mode & MODE_KEYBOARD_INTERRUPT != 0;
        let mouse = full && from_mouse && mode & MODE_MOUSE_INTERRUPT != 0;
        self.irq1.set(keyboard);
        self.irq12.set(mouse);
    }

    fn next_output(&mut self) -> Option<Output> {
        if let Some(reply) = self.state.replies.pop_front() {
            return Some(reply);
        }
        let mode = self.mode();
        if mode & MODE_KEYBOARD_OFF == 0 {
            // A release prefix is swallowed by the translation, hence the loop; the keyboard's
            // buffer is finite.
            while let Some(code) = self.state.keyboard.next() {
                let byte = if mode & MODE_TRANSLATE != 0 {
                    self.state.translator.translate(code)
                } else {
                    Some(code)
                };
                if let Some(byte) = byte {
                    let from_mouse = false;
                    return Some(Output { byte, from_mouse });
                }
            }
        }
        if mode & MODE_MOUSE_OFF != 0 {
            return None;
        }
        let byte = self.state.mouse.next()?;
        let from_mouse = true;
        Some(Output { byte, from_mouse })
    }

    fn reply(&mut self, byte: u8, from_mouse: bool) {
        if self.state.replies.len() < MAX_REPLIES {
            self.state.replies.push_back(Output { byte, from_mouse });
        }
    }

    fn set_a20(&mut self, open: bool) {
        self.state.a20 = open;
        self.lines.set_a20(open);
    }

    fn output_port(&self) -> u8 {
        let mut value = OUTPUT_NO_RESET;
        if self.state.a20 {
            value |= OUTPUT_A20;
        }
        match self.state.output {
            Some(output) if output.from_mouse => value | OUTPUT_MOUSE_FULL,
            Some(_) => value | OUTPUT_KEYBOARD_FULL,
            None => value,
        }
    }

    fn status(&self) -> u8 {
        let mut value = STATUS_UNLOCKED | self.mode() & STATUS_SYSTEM;
        if let Some(output) = self.state.output {
            value |= STATUS_OUTPUT_FULL;
            if output.from_mouse {
                value |= STATUS_FROM_MOUSE;
            }
        }
        if self.state.command_written {
            value |= STATUS_COMMAND;
        }
        value
    }

    fn write_command(&mut self, command: u8) {
        self.state.command = None;
        let mode = self.mode();
        match command {
            0x20..=0x3f => self.reply(self.state.ram[usize::from(command & 0x1f)], false),
            // These take a byte.
            0x60..=0x7f | 0xa5 | 0xd1..=0xd4 => self.state.command = Some(command),
            // No password is installed.
            0xa4 => self.reply(0xf1, false),
            0xa7 => self.set_mode(mode | MODE_MOUSE_OFF),
            0xa8 => self.set_mode(mode & !MODE_MOUSE_OFF),
            // The interfaces' tests find nothing wrong.
            0xa9 | 0xab => self.reply(0x00, false),
            0xaa => {
                self.set_mode(mode | STATUS_SYSTEM);
                self.reply(0x55, false);
            }
            0xad => self.set_mode(mode | MODE_KEYBOARD_OFF),
            0xae => self.set_mode(mode & !MODE_KEYBOARD_OFF),
            // Input port: not locked, manufacturing jumper out.
            0xc0 => self.reply(0xa0, false),
            0xd0 => self.reply(self.output_port(), false),
            0xdd | 0xdf => self.set_a20(command == 0xdf),
            // Test inputs: both clocks idle.
            0xe0 => self.reply(0x00, false),
            // Pulses the output port's low bits that are 0 here; bit 0 is the reset line.
            0xf0..=0xff if command & 1 == 0 => self.lines.reset(),
            _ => {}
        }
    }

    fn write_data(&mut self, value: u8) {
        match self.state.command.take() {
            Some(command @ 0x60..=0x7f) => {
                self.state.ram[usize::from(command & 0x1f)] = value;
            }
            Some(0xd1) => {
                self.set_a20(value & OUTPUT_A20 != 0);
                if value & OUTPUT_NO_RESET == 0 {
                    self.lines.reset();
                }
            }
            Some(0xd2) => self.reply(value, false),
            Some(0xd3) => self.reply(value, true),
            Some(0xd4) => {
                // Talking to a device switches its interface on.
                self.set_mode(self.mode() & !MODE_MOUSE_OFF);
                self.state.mouse.write(value);
            }
            // A password ends with a zero; there is nothing to keep.
            Some(0xa5) if value != 0 => self.state.command = Some(0xa5),
            Some(_) => {}
            None => {
                self.set_mode(self.mode() & !MODE_KEYBOARD_OFF);
                self.state.keyboard.write(value);
            }
        }
    }

    fn read_data(&mut self) -> u8 {
        let Some(output) = self.state.output.take() else {
            return 0;
        };
        // Both lines fall before the next byte raises one: an edge for each byte.
        self.irq1.set(false);
        self.irq12.set(false);
        output.byte
    }

    fn read_byte(&mut self, offset: u64) -> u8 {
        match offset {
            0 => {
                let value = self.read_data();
                self.fetch();
                value
            }
            4 => self.status(),
            _ => 0xff,
        }
    }

    fn write_byte(&mut self, offset: u64, value: u8) {
        match offset {
            0 => {
                self.state.command_written = false;
                self.write_data(value);
            }
            4 => {
                self.state.command_written = true;
                self.write_command(value);
            }
            _ => {}
        }
        self.fetch();
    }
}

impl Device for I8042 {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        read_bytes(offset, size, |at| self.read_byte(at))
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        write_bytes(offset, size, value, |at, byte| self.write_byte(at, byte));
    }

    fn reset(&mut self) {
        self.state = at_reset();
        self.lines.set_a20(true);
        self.fetch();
    }

    fn save(&self) -> DeviceState {
        encode_state(KIND, VERSION, &self.state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let mut state: I8042StateV1 = decode_state(KIND, VERSION, state)?;
        state.replies.truncate(MAX_REPLIES);
        state.keyboard.sanitise();
        state.mouse.sanitise();
        self.state = state;
        self.lines.set_a20(self.state.a20);
        self.fetch();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
