//! MC146818 real-time clock with 128 bytes of CMOS RAM (I/O ports 70h and 71h).
//!
//! Spec: Motorola MC146818A datasheet; Intel ICH datasheet, "Real Time Clock Registers"; the PC's
//! use of the RAM bytes as in Ralf Brown's list, "CMOS Memory Map".
//!
//! The time is the machine's wall clock plus an offset, which a guest changes by setting the time.
//! The flags of register C are worked out when somebody looks: what has happened since the last
//! look. The [`Timer`] is only armed for an event whose interrupt is enabled and not yet told, so
//! a guest that does not read register C costs nothing, and no backlog of beats builds up.

mod calendar;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::calendar::{Alarm, DateTime};
use super::{ticks_at, time_of_tick};
use crate::ports::{read_bytes, write_bytes};
use crate::{
    Clock, Device, DeviceState, Line, PortRange, RestoreError, Timer, decode_state, encode_state,
};

pub const PORTS: [PortRange; 1] = [PortRange {
    first: 0x70,
    count: 2,
    offset: 0,
}];

const KIND: &str = "rtc";
const VERSION: u16 = 1;

const SECOND: u64 = 1_000_000_000;
/// The crystal, in Hz.
const FREQUENCY: u64 = 32_768;
/// Update in progress is told this long before the second changes, in nanoseconds.
const UPDATE: u64 = 244_000;

const REGISTER_A: u8 = 0x0a;
const REGISTER_B: u8 = 0x0b;
const REGISTER_C: u8 = 0x0c;
const REGISTER_D: u8 = 0x0d;
/// Why the last reset happened, for firmware.
const SHUTDOWN_STATUS: u8 = 0x0f;
/// Types of the drives, the first in the upper half.
const FLOPPY_DRIVES: u8 = 0x10;
const EQUIPMENT: u8 = 0x14;
/// There is one drive.
const EQUIPMENT_FLOPPY: u8 = 1;
const CENTURY: u8 = 0x32;

const A_UPDATING: u8 = 1 << 7;
/// Divider: 010 runs, 11x holds the clock.
const A_DIVIDER: u8 = 0x70;
const A_RUNNING: u8 = 0x20;

const B_SET: u8 = 1 << 7;
const B_PERIODIC: u8 = 1 << 6;
const B_ALARM: u8 = 1 << 5;
const B_UPDATE: u8 = 1 << 4;
const B_BINARY: u8 = 1 << 2;
const B_24_HOURS: u8 = 1 << 1;

/// Register C's flags lie where register B's enables do.
const FLAGS: u8 = B_PERIODIC | B_ALARM | B_UPDATE;
const C_INTERRUPT: u8 = 1 << 7;
const D_VALID: u8 = 1 << 7;

/// How much memory the CMOS bytes tell firmware of.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct RtcMemory {
    /// Bytes of RAM below 4 GiB.
    pub below_4g: u64,
    /// Bytes of RAM from 4 GiB up.
    pub above_4g: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RtcStateV1 {
    /// 128 bytes. While the clock runs, its own bytes are stale and made when read.
    ram: Vec<u8>,
    index: u8,
    /// Guest's time less the machine's wall clock, in nanoseconds.
    offset: i64,
    /// Guest's time up to which update and alarm flags are worked out, in seconds.
    seen_second: u64,
    /// Beat of the periodic interrupt up to which its flag is worked out.
    seen_beat: u64,
}

/// The clock. IRQ8 is held high from an interrupt until the guest reads register C.
#[derive(Debug)]
pub struct Rtc {
    state: RtcStateV1,
    clock: Arc<dyn Clock>,
    timer: Arc<dyn Timer>,
    irq8: Arc<dyn Line>,
}

impl Rtc {
    #[must_use]
    pub fn new(
        memory: RtcMemory,
        clock: Arc<dyn Clock>,
        timer: Arc<dyn Timer>,
        irq8: Arc<dyn Line>,
    ) -> Rtc {
        let mut rtc = Rtc {
            state: RtcStateV1 {
                ram: vec![0; 128],
                index: 0,
                offset: 0,
                seen_second: 0,
                seen_beat: 0,
            },
            clock,
            timer,
            irq8,
        };
        rtc.set(REGISTER_A, A_RUNNING | 6);
        rtc.set(REGISTER_B, B_24_HOURS);
        rtc.describe_memory(memory);
        rtc.forget_the_past();
        rtc
    }

    /// Tells firmware of one floppy drive, by its type in the CMOS: 4 is one of 1.44 MB.
    #[must_use]
    pub fn with_floppy(mut self, drive: u8) -> Rtc {
        self.set(FLOPPY_DRIVES, drive << 4);
        let equipment = self.get(EQUIPMENT);
        self.set(EQUIPMENT, equipment | EQUIPMENT_FLOPPY);
        self
    }

    /// The reason of the coming reset, as firmware reads it from byte 0Fh.
    #[must_use]
    pub fn shutdown_status(&self) -> u8 {
        self.get(SHUTDOWN_STATUS)
    }

    fn get(&self, register: u8) -> u8 {
        let byte = self.state.ram.get(usize::from(register & 0x7f));
        byte.copied().unwrap_or(0xff)
    }

    fn set(&mut self, register: u8, value: u8) {
        if let Some(byte) = self.state.ram.get_mut(usize::from(register & 0x7f)) {
            *byte = value;
        }
    }

    fn describe_memory(&mut self, memory: RtcMemory) {
        let above_1m = memory.below_4g.saturating_sub(1 << 20) >> 10;
        let above_16m = memory.below_4g.saturating_sub(16 << 20) >> 16;
        let above_4g = (memory.above_4g >> 16).min(0xff_ffff);
        let [low, high, ..] = above_1m.min(0xfc00).to_le_bytes();
        let [low_16m, high_16m, ..] = above_16m.min(0xffff).to_le_bytes();
        let [low_4g, middle_4g, high_4g, ..] = above_4g.to_le_bytes();
        for (register, value) in [
            // 640 KiB of base memory.
            (0x15, 0x80),
            (0x16, 0x02),
            (0x17, low),
            (0x18, high),
            (0x30, low),
            (0x31, high),
            (0x34, low_16m),
            (0x35, high_16m),
            (0x5b, low_4g),
            (0x5c, middle_4g),
            (0x5d, high_4g),
        ] {
            self.set(register, value);
        }
    }

    fn running(&self) -> bool {
        self.get(REGISTER_B) & B_SET == 0 && self.get(REGISTER_A) & A_DIVIDER == A_RUNNING
    }

    /// The guest's time, nanoseconds since 1970.
    fn time(&self) -> u64 {
        self.clock.wall().saturating_add_signed(self.state.offset)
    }

    fn date_time(&self) -> DateTime {
        DateTime::from_seconds(self.time() / SECOND)
    }

    /// Beats of the periodic interrupt a second; `None` when it is off.
    fn beat_frequency(&self) -> Option<u64> {
        if self.get(REGISTER_A) & A_DIVIDER != A_RUNNING {
            return None;
        }
        match self.get(REGISTER_A) & 0xf {
            0 => None,
            // The two fastest settings are those of rates 8 and 9 once more.
            rate @ 1..=2 => Some(FREQUENCY >> (rate + 6)),
            rate => Some(FREQUENCY >> (rate - 1)),
        }
    }

    fn beat(&self) -> u64 {
        self.beat_frequency()
            .map_or(0, |hz| ticks_at(self.clock.now(), hz))
    }

    /// Events count from now on.
    fn forget_the_past(&mut self) {
        self.state.seen_second = self.time() / SECOND;
        self.state.seen_beat = self.beat();
    }

    fn alarm(&self) -> Alarm {
        let format = self.get(REGISTER_B);
        Alarm::from_registers([self.get(1), self.get(3), self.get(5)], format)
    }

    /// Sets the flags of what has happened since the last look, drives the line, arms the timer.
    fn look(&mut self) {
        let mut flags = self.get(REGISTER_C) & FLAGS;
        let beat = self.beat();
        if self.beat_frequency().is_some() && beat != self.state.seen_beat {
            flags |= B_PERIODIC;
        }
        self.state.seen_beat = beat;
        if self.running() {
            let second = self.time() / SECOND;
            // The wall clock may have been set back: then nothing has happened.
            if second > self.state.seen_second {
                flags |= B_UPDATE;
                let next = self.alarm().next_after(self.state.seen_second);
                if next.is_some_and(|next| next <= second) {
                    flags |= B_ALARM;
                }
            }
            self.state.seen_second = second;
        }
        let interrupt = flags & self.get(REGISTER_B) & FLAGS != 0;
        if interrupt {
            flags |= C_INTERRUPT;
        }
        self.set(REGISTER_C, flags);
        self.irq8.set(interrupt);
        self.arm();
    }

    fn arm(&self) {
        let wanted = self.get(REGISTER_B) & FLAGS;
        if self.get(REGISTER_C) & C_INTERRUPT != 0 {
            self.timer.disarm();
            return;
        }
        let beat = self
            .beat_frequency()
            .filter(|_| wanted & B_PERIODIC != 0)
            .map(|hz| time_of_tick(self.state.seen_beat.saturating_add(1), hz));
        let mut second = None;
        if self.running() && wanted & B_UPDATE != 0 {
            second = Some(self.state.seen_second.saturating_add(1));
        } else if self.running() && wanted & B_ALARM != 0 {
            second = self.alarm().next_after(self.state.seen_second);
        }
        let second = second.map(|second| {
            let wait = second.saturating_mul(SECOND).saturating_sub(self.time());
            self.clock.now().saturating_add(wait)
        });
        match beat.into_iter().chain(second).min() {
            Some(deadline) => self.timer.arm(deadline),
            None => self.timer.disarm(),
        }
    }

    /// Puts the time into its registers, where a guest may then change it.
    fn freeze(&mut self) {
        let format = self.get(REGISTER_B);
        for (register, value) in self.date_time().to_registers(format) {
            self.set(register, value);
        }
    }

    /// Goes on from what the registers say. `fraction` of the second has passed, in nanoseconds.
    fn thaw(&mut self, fraction: u64) {
        let format = self.get(REGISTER_B);
        let registers = [0, 2, 4, 7, 8, 9, CENTURY].map(|register| self.get(register));
        let seconds = DateTime::from_registers(registers, format).to_seconds();
        let time = i128::from(seconds) * i128::from(SECOND) + i128::from(fraction);
        let offset = time - i128::from(self.clock.wall());
        // Beyond 292 years the clock shows the furthest time it can.
        let furthest = if offset < 0 { i64::MIN } else { i64::MAX };
        self.state.offset = i64::try_from(offset).unwrap_or(furthest);
        self.state.seen_second = self.time() / SECOND;
    }

    fn read_register(&mut self, register: u8) -> u8 {
        match register {
            REGISTER_A => {
                let left = SECOND - self.time() % SECOND;
                let updating = self.running() && left <= UPDATE;
                self.get(REGISTER_A) | if updating { A_UPDATING } else { 0 }
            }
            REGISTER_C => {
                self.look();
                let value = self.get(REGISTER_C);
                self.set(REGISTER_C, 0);
                self.irq8.set(false);
                self.arm();
                value
            }
            REGISTER_D => D_VALID,
            0 | 2 | 4 | 6..=9 | CENTURY if self.running() => {
                let format = self.get(REGISTER_B);
                let registers = self.date_time().to_registers(format);
                let found = registers.iter().find(|(number, _)| *number == register);
                found.map_or(0xff, |(_, value)| *value)
            }
            _ => self.get(register),
        }
    }

    fn write_register(&mut self, register: u8, value: u8) {
        self.look();
        match register {
            REGISTER_A => self.write_control(REGISTER_A, value & !A_UPDATING),
            REGISTER_B => self.write_control(REGISTER_B, value),
            REGISTER_C | REGISTER_D => {}
            0 | 2 | 4 | 6..=9 | CENTURY if self.running() => {
                let fraction = self.time() % SECOND;
                self.freeze();
                self.set(register, value);
                self.thaw(fraction);
            }
            _ => self.set(register, value),
        }
        self.look();
    }

    /// Register A or B, either of which may stop and start the clock, or change how it shows.
    fn write_control(&mut self, register: u8, value: u8) {
        let was_running = self.running();
        let was_divided = self.get(REGISTER_A) & A_DIVIDER == A_RUNNING;
        let fraction = self.time() % SECOND;
        if was_running {
            self.freeze();
        }
        let reformat = register == REGISTER_B && was_running;
        self.set(register, value);
        if reformat {
            // The same time in the new format.
            self.freeze();
        }
        self.state.seen_beat = self.beat();
        if self.running() && !was_running {
            // Spec: "Divider control bits": the first update is half a second after a restart.
            self.thaw(if was_divided { fraction } else { SECOND / 2 });
        }
    }

    fn read_byte(&mut self, offset: u64) -> u8 {
        match offset {
            1 => self.read_register(self.state.index),
            _ => 0xff,
        }
    }

    fn write_byte(&mut self, offset: u64, value: u8) {
        match offset {
            // Bit 7 masks NMI on the board; it is no part of the address.
            0 => self.state.index = value & 0x7f,
            1 => self.write_register(self.state.index, value),
            _ => {}
        }
    }
}

impl Device for Rtc {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        read_bytes(offset, size, |at| self.read_byte(at))
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        write_bytes(offset, size, value, |at, byte| self.write_byte(at, byte));
    }

    /// The battery keeps time and RAM; only interrupts are off. Spec: MC146818A, "RESET".
    fn reset(&mut self) {
        self.look();
        self.set(REGISTER_B, self.get(REGISTER_B) & !(FLAGS | 1 << 3));
        self.set(REGISTER_C, 0);
        self.state.index = 0;
        self.irq8.set(false);
        self.timer.disarm();
    }

    fn save(&self) -> DeviceState {
        encode_state(KIND, VERSION, &self.state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let state: RtcStateV1 = decode_state(KIND, VERSION, state)?;
        if state.ram.len() != 128 {
            return Err(RestoreError::Damaged {
                kind: KIND.to_owned(),
                what: format!("{} bytes of RAM instead of 128", state.ram.len()),
            });
        }
        self.state = state;
        self.state.index &= 0x7f;
        self.look();
        Ok(())
    }

    fn expire(&mut self, _now: u64) {
        self.look();
    }
}

#[cfg(test)]
mod tests;
