//! One counter to and from what other engines have.

use x86::chips::PitChannel;

use super::Channel;
use crate::timers::pit::FREQUENCY;
use crate::timers::{ticks_at, time_of_tick};

impl Channel {
    pub(in super::super) fn registers(&self, tick: u64) -> PitChannel {
        PitChannel {
            mode: self.loaded.then_some(self.mode),
            count: self.reload.as_ref().map_or(self.count, |next| next.count),
            bcd: self.bcd,
            gate: self.gate,
            access: self.access,
            read_high: self.read_high,
            low_written: self.low_written,
            latched: self.latched,
            status: self.status,
            elapsed: time_of_tick(self.elapsed(tick).unwrap_or(0), FREQUENCY),
        }
    }

    pub(in super::super) fn of_registers(registers: &PitChannel, tick: u64) -> Channel {
        let mut channel = Channel {
            bcd: registers.bcd,
            access: registers.access,
            read_high: registers.read_high,
            low_written: registers.low_written,
            latched: registers.latched,
            status: registers.status,
            ..Channel::new(registers.gate)
        };
        if let Some(mode) = registers.mode {
            channel.mode = mode;
            channel.count = registers.count;
            channel.sanitise();
            let count = channel.count;
            let begun = tick.saturating_sub(ticks_at(registers.elapsed, FREQUENCY));
            channel.load(count, begun);
            // A trigger that came and went cannot be told from one that did not.
            if channel.triggered() && registers.gate {
                channel.start = Some(begun);
            }
        }
        channel.sanitise();
        channel
    }
}
