//! 16550A UART.
//!
//! Spec: National Semiconductor PC16550D datasheet; "COM1" and the gate of the interrupt by OUT2 as
//! on the IBM PC.
//!
//! Our own rather than a crate's, because its state must be whole: the crate at hand keeps no
//! loopback, modem status or FIFO trigger in its state. The line is infinitely fast: a byte written
//! is gone at once, and received bytes below the FIFO's trigger level count as timed out at once.
//! Bytes that do not fit are not taken: [`Serial::receive`] says how many it took, and the notice
//! given to [`Serial::on_room`] is called when the guest has made room, so nothing is ever overrun
//! but in loopback.

mod fifo;

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::fifo::{Fifo, Received};
use crate::ports::{read_bytes, write_bytes};
use crate::{Device, DeviceState, Line, PortRange, RestoreError, decode_state, encode_state};

/// COM1 to COM4; their interrupts are [`IRQS`].
pub const PORTS: [PortRange; 4] = [com(0x3f8), com(0x2f8), com(0x3e8), com(0x2e8)];
pub const IRQS: [u8; 4] = [4, 3, 4, 3];

const fn com(first: u16) -> PortRange {
    PortRange {
        first,
        count: 8,
        offset: 0,
    }
}

const KIND: &str = "serial";
const VERSION: u16 = 1;

const IER_RECEIVED: u8 = 1 << 0;
const IER_EMPTY: u8 = 1 << 1;
const IER_LINE: u8 = 1 << 2;
const IER_MODEM: u8 = 1 << 3;

const IIR_NONE: u8 = 0x01;
const IIR_MODEM: u8 = 0x00;
const IIR_EMPTY: u8 = 0x02;
const IIR_RECEIVED: u8 = 0x04;
const IIR_LINE: u8 = 0x06;
const IIR_TIMEOUT: u8 = 0x0c;
const IIR_FIFOS: u8 = 0xc0;

const FCR_ENABLE: u8 = 1 << 0;
const FCR_CLEAR_RECEIVER: u8 = 1 << 1;

const LCR_BREAK: u8 = 1 << 6;
const LCR_DLAB: u8 = 1 << 7;

const MCR_DTR: u8 = 1 << 0;
const MCR_RTS: u8 = 1 << 1;
const MCR_OUT1: u8 = 1 << 2;
const MCR_OUT2: u8 = 1 << 3;
const MCR_LOOPBACK: u8 = 1 << 4;

const LSR_READY: u8 = 1 << 0;
const LSR_OVERRUN: u8 = 1 << 1;
const LSR_BREAK: u8 = 1 << 4;
const LSR_EMPTY: u8 = 0x60;
const LSR_FIFO_ERROR: u8 = 1 << 7;

const MSR_CTS: u8 = 1 << 4;
const MSR_DSR: u8 = 1 << 5;
const MSR_RI: u8 = 1 << 6;
const MSR_DCD: u8 = 1 << 7;
/// Somebody is at the other end and listens.
const MSR_CONNECTED: u8 = MSR_CTS | MSR_DSR | MSR_DCD;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SerialStateV1 {
    fifo: Fifo,
    interrupts: u8,
    line_control: u8,
    modem_control: u8,
    modem_status: u8,
    scratch: u8,
    divisor: u16,
    /// The transmitter has become empty and nobody has been told.
    empty_pending: bool,
    overrun: bool,
    break_seen: bool,
}

/// Called when the receiver has room again.
struct Notice(Box<dyn Fn() + Send>);

impl fmt::Debug for Notice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Notice")
    }
}

/// Where the bytes go that the guest sends.
struct Output(Box<dyn Write + Send>);

impl fmt::Debug for Output {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Output")
    }
}

#[derive(Debug)]
pub struct Serial {
    state: SerialStateV1,
    irq: Arc<dyn Line>,
    output: Output,
    room: Option<Notice>,
    lost: u64,
}

fn at_reset() -> SerialStateV1 {
    SerialStateV1 {
        fifo: Fifo::default(),
        interrupts: 0,
        line_control: 0,
        modem_control: 0,
        modem_status: MSR_CONNECTED,
        scratch: 0,
        // 9600 baud.
        divisor: 12,
        empty_pending: false,
        overrun: false,
        break_seen: false,
    }
}

impl Serial {
    /// `output` gets every byte that the guest sends, as it is sent. It should not block: the vCPU
    /// waits for it.
    #[must_use]
    pub fn new(irq: Arc<dyn Line>, output: Box<dyn Write + Send>) -> Serial {
        Serial {
            state: at_reset(),
            irq,
            output: Output(output),
            room: None,
            lost: 0,
        }
    }

    /// `notice` is called, with the device locked, when the receiver has room after it was full:
    /// it must only wake the thread that then calls [`Serial::receive`].
    pub fn on_room(&mut self, notice: Box<dyn Fn() + Send>) {
        self.room = Some(Notice(notice));
    }

    /// Bytes that the guest sent and the output did not take.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// How many bytes [`Serial::receive`] would take now.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.loops() {
            return 0;
        }
        self.state.fifo.room()
    }

    /// Bytes from the other end. Answers how many were taken; offer the rest again later.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        for &byte in &bytes[..taken] {
            self.state.fifo.push(Received { byte, errors: 0 });
        }
        self.update();
        taken
    }

    /// A break condition from the other end (Linux: SysRq). `false` when there is no room for it.
    pub fn receive_break(&mut self) -> bool {
        if self.room() == 0 {
            return false;
        }
        let received = Received {
            byte: 0,
            errors: LSR_BREAK,
        };
        self.state.fifo.push(received);
        self.expose_errors();
        self.update();
        true
    }

    fn loops(&self) -> bool {
        self.state.modem_control & MCR_LOOPBACK != 0
    }

    /// The errors of the byte that is next to be read are those that LSR shows.
    fn expose_errors(&mut self) {
        if self.state.fifo.take_errors() & LSR_BREAK != 0 {
            self.state.break_seen = true;
        }
    }

    /// The most urgent interrupt. Spec: PC16550D, table "Interrupt Control Functions".
    fn interrupt(&self) -> u8 {
        let state = &self.state;
        let enabled = |bit| state.interrupts & bit != 0;
        if enabled(IER_LINE) && (state.overrun || state.break_seen) {
            IIR_LINE
        } else if enabled(IER_RECEIVED) && state.fifo.triggered() {
            IIR_RECEIVED
        } else if enabled(IER_RECEIVED) && !state.fifo.is_empty() {
            IIR_TIMEOUT
        } else if enabled(IER_EMPTY) && state.empty_pending {
            IIR_EMPTY
        } else if enabled(IER_MODEM) && state.modem_status & 0x0f != 0 {
            IIR_MODEM
        } else {
            IIR_NONE
        }
    }

    fn update(&mut self) {
        // On a PC, OUT2 connects the interrupt to the bus.
        let connected = self.state.modem_control & MCR_OUT2 != 0;
        self.irq.set(connected && self.interrupt() != IIR_NONE);
    }

    fn transmit(&mut self, byte: u8) {
        self.state.empty_pending = true;
        if self.loops() {
            if self.state.fifo.room() == 0 {
                self.state.overrun = true;
            } else {
                self.state.fifo.push(Received { byte, errors: 0 });
            }
            return;
        }
        let Output(output) = &mut self.output;
        if output.write_all(&[byte]).is_err() || output.flush().is_err() {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Sets the modem inputs (upper four bits) and notes which changed.
    fn set_modem_inputs(&mut self, inputs: u8) {
        let changed = (self.state.modem_status ^ inputs) & 0xf0;
        let mut deltas = changed >> 4;
        // For RI only the trailing edge counts.
        if inputs & MSR_RI != 0 {
            deltas &= !(MSR_RI >> 4);
        }
        self.state.modem_status = inputs & 0xf0 | self.state.modem_status & 0x0f | deltas;
    }

    fn write_modem_control(&mut self, value: u8) {
        let was_looping = self.loops();
        self.state.modem_control = value & 0x1f;
        if !self.loops() {
            self.set_modem_inputs(MSR_CONNECTED);
            if was_looping {
                self.tell_room();
            }
            return;
        }
        let wired = [
            (MCR_RTS, MSR_CTS),
            (MCR_DTR, MSR_DSR),
            (MCR_OUT1, MSR_RI),
            (MCR_OUT2, MSR_DCD),
        ];
        let inputs = wired.iter().fold(0, |inputs, (output, input)| {
            inputs | if value & output != 0 { *input } else { 0 }
        });
        self.set_modem_inputs(inputs);
    }

    fn write_fifo_control(&mut self, value: u8) {
        let enable = value & FCR_ENABLE != 0;
        if enable != self.state.fifo.enabled() || value & FCR_CLEAR_RECEIVER != 0 {
            self.state.fifo.clear();
            self.tell_room();
        }
        // The other bits count only together with the enable.
        self.state.fifo.configure(enable, value >> 6);
    }

    fn tell_room(&self) {
        if let Some(Notice(notice)) = &self.room {
            notice();
        }
    }

    fn read_data(&mut self) -> u8 {
        let full = self.state.fifo.room() == 0;
        let byte = self.state.fifo.pop();
        self.expose_errors();
        if full {
            self.tell_room();
        }
        byte
    }

    fn read_line_status(&mut self) -> u8 {
        let state = &mut self.state;
        let mut value = LSR_EMPTY;
        if !state.fifo.is_empty() {
            value |= LSR_READY;
        }
        if std::mem::take(&mut state.overrun) {
            value |= LSR_OVERRUN;
        }
        if std::mem::take(&mut state.break_seen) {
            value |= LSR_BREAK;
        }
        if state.fifo.enabled() && (value & LSR_BREAK != 0 || state.fifo.has_errors()) {
            value |= LSR_FIFO_ERROR;
        }
        value
    }

    fn read_interrupt_identification(&mut self) -> u8 {
        let interrupt = self.interrupt();
        if interrupt == IIR_EMPTY {
            self.state.empty_pending = false;
        }
        let fifos = if self.state.fifo.enabled() {
            IIR_FIFOS
        } else {
            0
        };
        interrupt | fifos
    }

    fn divisor_shown(&self) -> bool {
        self.state.line_control & LCR_DLAB != 0
    }

    fn read_byte(&mut self, offset: u64) -> u8 {
        let [low, high] = self.state.divisor.to_le_bytes();
        match offset {
            0 if self.divisor_shown() => low,
            1 if self.divisor_shown() => high,
            0 => self.read_data(),
            1 => self.state.interrupts,
            2 => self.read_interrupt_identification(),
            3 => self.state.line_control,
            4 => self.state.modem_control,
            5 => self.read_line_status(),
            6 => {
                let value = self.state.modem_status;
                self.state.modem_status &= 0xf0;
                value
            }
            7 => self.state.scratch,
            _ => 0xff,
        }
    }

    fn write_byte(&mut self, offset: u64, value: u8) {
        let [low, high] = self.state.divisor.to_le_bytes();
        match offset {
            0 if self.divisor_shown() => self.state.divisor = u16::from_le_bytes([value, high]),
            1 if self.divisor_shown() => self.state.divisor = u16::from_le_bytes([low, value]),
            0 => {
                // A byte sent ends the interrupt, and its being gone makes the next one: the line
                // has to show both, or an edge-triggered controller misses it.
                self.state.empty_pending = false;
                self.update();
                self.transmit(value);
            }
            1 => {
                if value & !self.state.interrupts & IER_EMPTY != 0 {
                    self.state.empty_pending = true;
                }
                self.state.interrupts = value & 0x0f;
            }
            2 => self.write_fifo_control(value),
            3 => self.write_line_control(value),
            4 => self.write_modem_control(value),
            7 => self.state.scratch = value,
            _ => {}
        }
    }

    fn write_line_control(&mut self, value: u8) {
        let begins = value & !self.state.line_control & LCR_BREAK != 0;
        self.state.line_control = value;
        if begins && self.loops() && self.state.fifo.room() > 0 {
            let received = Received {
                byte: 0,
                errors: LSR_BREAK,
            };
            self.state.fifo.push(received);
            self.expose_errors();
        }
    }
}

impl Device for Serial {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        let value = read_bytes(offset, size, |at| self.read_byte(at));
        self.update();
        value
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        write_bytes(offset, size, value, |at, byte| self.write_byte(at, byte));
        self.update();
    }

    fn reset(&mut self) {
        self.state = at_reset();
        self.update();
        self.tell_room();
    }

    fn save(&self) -> DeviceState {
        encode_state(KIND, VERSION, &self.state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let mut state: SerialStateV1 = decode_state(KIND, VERSION, state)?;
        state.fifo.sanitise();
        self.state = state;
        self.update();
        self.tell_room();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
