//! One counter of an 8254.
//!
//! Spec: Intel 82C54 datasheet, "Mode Definitions", "Read-Back Command". Time is in ticks of the
//! crystal. Loading takes one tick, as the datasheet's timing diagrams show.

mod exchange;

use serde::{Deserialize, Serialize};

/// Which bytes of the count a port access carries.
const ACCESS_LOW: u8 = 1;
const ACCESS_HIGH: u8 = 2;
const ACCESS_BOTH: u8 = 3;

/// A count that waits for the end of the running period (modes 2 and 3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Reload {
    count: u32,
    at: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Channel {
    /// 0 to 5.
    mode: u8,
    bcd: bool,
    access: u8,
    gate: bool,
    /// 1 to 65536; what the count register was loaded with.
    count: u32,
    /// Has a count been written since the control word?
    loaded: bool,
    /// When counting began; `None` while it waits for a count, or for a trigger.
    start: Option<u64>,
    /// Ticks counted before the gate went low (modes 0 and 4 go on from there).
    halted: Option<u64>,
    reload: Option<Reload>,
    /// The low byte of a 16-bit write of which the high byte is still to come.
    low_written: Option<u8>,
    /// The next read of a 16-bit count gives the high byte.
    read_high: bool,
    latched: Option<u16>,
    status: Option<u8>,
}

impl Channel {
    pub(super) fn new(gate: bool) -> Channel {
        Channel {
            mode: 0,
            bcd: false,
            access: ACCESS_BOTH,
            gate,
            count: 0x1_0000,
            loaded: false,
            start: None,
            halted: None,
            reload: None,
            low_written: None,
            read_high: false,
            latched: None,
            status: None,
        }
    }

    /// Brings values from outside into the ranges that the rest relies on.
    pub(super) fn sanitise(&mut self) {
        self.mode = self.mode.min(5);
        self.access = self.access.clamp(ACCESS_LOW, ACCESS_BOTH);
        self.count = self.count.clamp(1, 0x1_0000);
        if let Some(reload) = &mut self.reload {
            reload.count = reload.count.clamp(1, 0x1_0000);
        }
    }

    /// A control word, but a latch command.
    pub(super) fn program(&mut self, word: u8) {
        let mode = word >> 1 & 7;
        *self = Channel {
            // Modes 2 and 3 have two encodings each.
            mode: if mode > 5 { mode - 4 } else { mode },
            bcd: word & 1 != 0,
            access: word >> 4 & 3,
            ..Channel::new(self.gate)
        };
    }

    fn periodic(&self) -> bool {
        matches!(self.mode, 2 | 3)
    }

    fn triggered(&self) -> bool {
        matches!(self.mode, 1 | 5)
    }

    fn elapsed(&self, tick: u64) -> Option<u64> {
        self.halted
            .or_else(|| self.start.map(|start| tick.saturating_sub(start)))
    }

    pub(super) fn write(&mut self, value: u8, tick: u64) {
        let count = match self.access {
            ACCESS_LOW => u16::from(value),
            ACCESS_HIGH => u16::from(value) << 8,
            _ => match self.low_written.take() {
                Some(low) => u16::from_le_bytes([low, value]),
                None => {
                    self.low_written = Some(value);
                    // Mode 0 stops at the first byte, so that OUT cannot rise between the two.
                    if self.mode == 0 {
                        self.start = None;
                        self.halted = None;
                    }
                    return;
                }
            },
        };
        self.load(self.decode(count), tick);
    }

    fn load(&mut self, count: u32, tick: u64) {
        self.loaded = true;
        let begin = tick.saturating_add(1);
        let running = self.start.filter(|_| self.periodic() && self.gate);
        if let Some(start) = running {
            let periods = tick.saturating_sub(start) / u64::from(self.count) + 1;
            let at = start.saturating_add(periods.saturating_mul(self.count.into()));
            self.reload = Some(Reload { count, at });
            return;
        }
        self.count = count;
        self.reload = None;
        if self.triggered() {
            // A running one-shot goes on with its old end; the new count is for the next trigger.
            return;
        }
        self.start = Some(begin);
        self.halted = (!self.gate).then_some(0);
        if self.periodic() && !self.gate {
            self.start = None;
            self.halted = None;
        }
    }

    pub(super) fn set_gate(&mut self, gate: bool, tick: u64) {
        let rising = gate && !self.gate;
        let falling = !gate && self.gate;
        self.gate = gate;
        if !self.loaded {
            return;
        }
        match self.mode {
            0 | 4 if falling => self.halted = self.elapsed(tick),
            0 | 4 if rising => {
                if let Some(done) = self.halted.take() {
                    self.start = Some(tick.saturating_sub(done));
                }
            }
            2 | 3 if falling => {
                if let Some(reload) = self.reload.take() {
                    self.count = reload.count;
                }
                self.start = None;
            }
            1 | 2 | 3 | 5 if rising => self.start = Some(tick.saturating_add(1)),
            _ => {}
        }
    }

    /// Moves on from tick `from` to tick `to`. Did OUT rise in between?
    pub(super) fn advance(&mut self, from: u64, to: u64) -> bool {
        let mut rose = false;
        let mut from = from;
        if let Some(reload) = self.reload.take_if(|reload| reload.at <= to) {
            rose = self.edge_between(from, reload.at);
            self.start = Some(reload.at);
            self.count = reload.count;
            from = reload.at;
        }
        self.edge_between(from, to) || rose
    }

    /// When OUT rises, in ticks since the start: once, or at every multiple.
    fn edge(&self) -> u64 {
        let strobe = matches!(self.mode, 4 | 5);
        u64::from(self.count) + u64::from(strobe)
    }

    fn edge_between(&self, from: u64, to: u64) -> bool {
        let Some(start) = self.start.filter(|_| self.halted.is_none()) else {
            return false;
        };
        let (from, to) = (from.saturating_sub(start), to.saturating_sub(start));
        let edge = self.edge();
        if self.periodic() {
            to / edge > from / edge
        } else {
            from < edge && edge <= to
        }
    }

    /// The first tick after `tick` at which OUT rises.
    pub(super) fn next_edge(&self, tick: u64) -> Option<u64> {
        let start = self.start.filter(|_| self.halted.is_none())?;
        let elapsed = tick.saturating_sub(start);
        let edge = self.edge();
        if self.periodic() {
            let periods = elapsed / edge + 1;
            Some(start.saturating_add(periods.saturating_mul(edge)))
        } else {
            (elapsed < edge).then(|| start.saturating_add(edge))
        }
    }

    pub(super) fn output(&self, tick: u64) -> bool {
        let count = u64::from(self.count);
        let Some(elapsed) = self.elapsed(tick) else {
            // Waiting: only mode 0 waits with OUT low.
            return self.mode != 0;
        };
        match self.mode {
            0 | 1 => elapsed >= count,
            2 => elapsed % count != count - 1 || count == 1,
            3 => elapsed % count < count.div_ceil(2),
            _ => elapsed != count,
        }
    }

    /// OUT goes up and down by itself, or will.
    pub(super) fn changes(&self) -> bool {
        self.start.is_some() && self.halted.is_none()
    }

    /// For how many of the ticks from `from` to `to` OUT is high, with a count that becomes due meanwhile.
    pub(super) fn high_between(&self, from: u64, to: u64) -> u64 {
        let Some(reload) = self.reload.as_ref().filter(|reload| reload.at < to) else {
            return self.high_until(to).saturating_sub(self.high_until(from));
        };
        let at = reload.at.max(from);
        let after = Channel {
            start: Some(reload.at),
            count: reload.count,
            reload: None,
            ..self.clone()
        };
        let before = self.high_until(at).saturating_sub(self.high_until(from));
        before + after.high_between(at, to)
    }

    /// For how many ticks up to this one OUT is high; counted from any tick, but always from the same one.
    fn high_until(&self, tick: u64) -> u64 {
        let Some(start) = self.start.filter(|_| self.halted.is_none()) else {
            return if self.output(tick) { tick } else { 0 };
        };
        let elapsed = tick.saturating_sub(start);
        let count = u64::from(self.count);
        match self.mode {
            0 | 1 => elapsed.saturating_sub(count),
            2 if count == 1 => elapsed,
            2 => elapsed - elapsed / count,
            3 => {
                let high = count.div_ceil(2);
                elapsed / count * high + (elapsed % count).min(high)
            }
            _ => elapsed - u64::from(elapsed > count),
        }
    }

    /// The counting element's value, as a read shows it.
    fn value(&self, tick: u64) -> u16 {
        let count = u64::from(self.count);
        let elapsed = self.elapsed(tick).unwrap_or(0);
        let modulus: u64 = if self.bcd { 10_000 } else { 0x1_0000 };
        let value = match self.mode {
            2 => count - elapsed % count,
            3 => {
                // Counts down by twos, once for each half; an odd count loads one less.
                let phase = elapsed % count;
                let high = count.div_ceil(2);
                let step = if phase < high { phase } else { phase - high };
                (count & !1) - (2 * step).min(count & !1)
            }
            // On past zero, and round again.
            _ => modulus + count % modulus - elapsed % modulus,
        };
        self.encode(value % modulus)
    }

    fn encode(&self, value: u64) -> u16 {
        let value = u16::try_from(value).unwrap_or(0);
        if !self.bcd {
            return value;
        }
        [1000, 100, 10, 1]
            .iter()
            .fold(0, |digits, unit| (digits << 4) | (value / unit % 10))
    }

    /// A count of zero is the largest one.
    fn decode(&self, raw: u16) -> u32 {
        if !self.bcd {
            return if raw == 0 { 0x1_0000 } else { raw.into() };
        }
        let digits = [12, 8, 4, 0].map(|shift| u32::from(raw >> shift & 0xf));
        let value = digits.iter().fold(0, |value, digit| value * 10 + digit);
        if value == 0 {
            10_000
        } else {
            value.min(10_000)
        }
    }

    /// A second latch before the first was read is ignored.
    pub(super) fn latch_count(&mut self, tick: u64) {
        if self.latched.is_none() {
            self.latched = Some(self.value(tick));
        }
    }

    pub(super) fn latch_status(&mut self, tick: u64) {
        if self.status.is_some() {
            return;
        }
        let null_count = !self.loaded || self.reload.is_some();
        let status = u8::from(self.output(tick)) << 7
            | u8::from(null_count) << 6
            | self.access << 4
            | self.mode << 1
            | u8::from(self.bcd);
        self.status = Some(status);
    }

    pub(super) fn read(&mut self, tick: u64) -> u8 {
        if let Some(status) = self.status.take() {
            return status;
        }
        let [low, high] = self
            .latched
            .unwrap_or_else(|| self.value(tick))
            .to_le_bytes();
        let (byte, last) = match self.access {
            ACCESS_LOW => (low, true),
            ACCESS_HIGH => (high, true),
            _ => {
                self.read_high = !self.read_high;
                if self.read_high {
                    (low, false)
                } else {
                    (high, true)
                }
            }
        };
        if last {
            self.latched = None;
        }
        byte
    }
}
