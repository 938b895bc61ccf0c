//! 8254 programmable interval timer, and port 61h (NMI status and control), which holds the gate
//! and the output of channel 2.
//!
//! Spec: Intel 82C54 datasheet; Intel ICH datasheet, "8254 Timers" and "NMI_SC".
//!
//! Nothing counts while nobody looks: a channel is a start time and a count, and the [`Timer`] is
//! armed for the next rising edge of channel 0. Edges that were missed because the host was late
//! are one interrupt, at the right phase, never a burst.

mod channel;
pub mod exchange;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::channel::Channel;
use super::{ticks_at, time_of_tick};
use crate::ports::{read_bytes, write_bytes};
use crate::sound::{Speaker, Wave};
use crate::{
    Clock, Device, DeviceState, Line, PortRange, RestoreError, Timer, decode_state, encode_state,
};

/// The 8254, and port 61h.
pub const PORTS: [PortRange; 2] = [
    PortRange {
        first: 0x40,
        count: 4,
        offset: 0,
    },
    PortRange {
        first: 0x61,
        count: 1,
        offset: 0x10,
    },
];

/// The crystal, in Hz.
pub const FREQUENCY: u64 = 1_193_182;

const KIND: &str = "pit";
const VERSION: u16 = 1;

/// Interrupts come no closer than this, in nanoseconds, whatever the guest programs.
const SHORTEST_PERIOD: u64 = 20_000;
/// The refresh bit of port 61h flips this often, in nanoseconds.
const REFRESH: u64 = 15_085;
/// Between two looks while something is heard, in nanoseconds.
const LOOK: u64 = 10_000_000;

/// Port 61h: gate of channel 2, speaker, and two enables that are only kept.
const CONTROL_GATE: u8 = 1 << 0;
const CONTROL_SPEAKER: u8 = 1 << 1;
const CONTROL_WRITABLE: u8 = 0x0f;
const CONTROL_REFRESH: u8 = 1 << 4;
const CONTROL_OUTPUT: u8 = 1 << 5;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PitStateV1 {
    channels: [Channel; 3],
    /// Port 61h as written.
    control: u8,
    /// Up to which tick channel 0's edges have been turned into interrupts.
    served: u64,
}

#[derive(Debug)]
pub struct Pit {
    state: PitStateV1,
    clock: Arc<dyn Clock>,
    timer: Arc<dyn Timer>,
    irq0: Arc<dyn Line>,
    speaker: Option<Heard>,
}

/// The speaker, and the alarm by which it is listened to. No state of its own is saved: a restored machine
/// begins to sound where it is.
#[derive(Debug)]
struct Heard {
    speaker: Speaker,
    alarm: Arc<dyn Timer>,
}

fn at_reset(tick: u64) -> PitStateV1 {
    PitStateV1 {
        // The gates of channels 0 and 1 are tied high.
        channels: [Channel::new(true), Channel::new(true), Channel::new(false)],
        control: 0,
        served: tick,
    }
}

impl Pit {
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, timer: Arc<dyn Timer>, irq0: Arc<dyn Line>) -> Pit {
        Pit {
            state: at_reset(ticks_at(clock.now(), FREQUENCY)),
            clock,
            timer,
            irq0,
            speaker: None,
        }
    }

    /// With a speaker that somebody listens to. When the alarm expires, [`Pit::listen`] is to be called.
    #[must_use]
    pub fn with_speaker(mut self, output: Wave, alarm: Arc<dyn Timer>) -> Pit {
        let speaker = Speaker::new(output, self.tick());
        self.speaker = Some(Heard { speaker, alarm });
        self
    }

    /// Brings what is heard up to the present. Before whatever changes channel 2 or port 61h.
    pub fn listen(&mut self) {
        let tick = self.tick();
        let Some(Heard { speaker, .. }) = &mut self.speaker else {
            return;
        };
        let [_, _, channel] = &self.state.channels;
        if self.state.control & CONTROL_SPEAKER != 0 {
            speaker.listen(tick, |from, to| channel.high_between(from, to));
        } else if !speaker.rests_at(false) {
            speaker.listen(tick, |_, _| 0);
        } else {
            speaker.skip(tick);
        }
        self.settle();
    }

    /// The alarm is as long as something is heard.
    fn settle(&self) {
        let Some(Heard { speaker, alarm }) = &self.speaker else {
            return;
        };
        let [_, _, channel] = &self.state.channels;
        let through = self.state.control & CONTROL_SPEAKER != 0;
        let level = through && channel.output(self.tick());
        if through && channel.changes() || !speaker.rests_at(level) {
            alarm.arm(self.clock.now().saturating_add(LOOK));
        } else {
            alarm.disarm();
        }
    }

    fn tick(&self) -> u64 {
        ticks_at(self.clock.now(), FREQUENCY)
    }

    /// Brings channel 0's interrupt line up to now and arms the timer for the next edge.
    fn serve(&mut self) {
        let tick = self.tick();
        let [channel, ..] = &mut self.state.channels;
        let rose = channel.advance(self.state.served, tick);
        self.state.served = tick;
        if rose {
            self.irq0.set(false);
            self.irq0.set(true);
        }
        self.irq0.set(channel.output(tick));
        match channel.next_edge(tick) {
            Some(edge) => {
                let soonest = self.clock.now().saturating_add(SHORTEST_PERIOD);
                self.timer.arm(time_of_tick(edge, FREQUENCY).max(soonest));
            }
            None => self.timer.disarm(),
        }
    }

    /// Channels 1 and 2 have no interrupt; they only take over a count that has become due.
    fn advance_others(&mut self, tick: u64) {
        for channel in &mut self.state.channels[1..] {
            channel.advance(tick, tick);
        }
    }

    fn write_control_word(&mut self, value: u8, tick: u64) {
        if value >> 6 == 3 {
            // Read-back command: bits 5 and 4 are active low.
            for (index, channel) in self.state.channels.iter_mut().enumerate() {
                if value & 2 << index == 0 {
                    continue;
                }
                if value & 1 << 5 == 0 {
                    channel.latch_count(tick);
                }
                if value & 1 << 4 == 0 {
                    channel.latch_status(tick);
                }
            }
            return;
        }
        if let Some(channel) = self.state.channels.get_mut(usize::from(value >> 6)) {
            if value & 0x30 == 0 {
                channel.latch_count(tick);
            } else {
                channel.program(value);
            }
        }
    }

    fn read_byte(&mut self, offset: u64) -> u8 {
        let tick = self.tick();
        self.advance_others(tick);
        match offset {
            0x10 => {
                let [_, _, speaker] = &self.state.channels;
                let mut value = self.state.control;
                if (self.clock.now() / REFRESH) & 1 != 0 {
                    value |= CONTROL_REFRESH;
                }
                if speaker.output(tick) {
                    value |= CONTROL_OUTPUT;
                }
                value
            }
            _ => {
                let channel = usize::try_from(offset).ok();
                channel
                    .and_then(|index| self.state.channels.get_mut(index))
                    .map_or(0xff, |channel| channel.read(tick))
            }
        }
    }

    fn write_byte(&mut self, offset: u64, value: u8) {
        let tick = self.tick();
        self.advance_others(tick);
        match offset {
            3 => self.write_control_word(value, tick),
            0x10 => {
                self.state.control = value & CONTROL_WRITABLE;
                let [_, _, speaker] = &mut self.state.channels;
                speaker.set_gate(value & CONTROL_GATE != 0, tick);
            }
            _ => {
                let channel = usize::try_from(offset).ok();
                if let Some(channel) = channel.and_then(|index| self.state.channels.get_mut(index))
                {
                    channel.write(value, tick);
                }
            }
        }
    }
}

impl Device for Pit {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        self.serve();
        self.listen();
        read_bytes(offset, size, |at| self.read_byte(at))
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        self.serve();
        self.listen();
        write_bytes(offset, size, value, |at, byte| self.write_byte(at, byte));
        self.serve();
        self.settle();
    }

    fn reset(&mut self) {
        self.listen();
        self.state = at_reset(self.tick());
        self.settle();
        self.timer.disarm();
        self.irq0.set(false);
    }

    fn save(&self) -> DeviceState {
        encode_state(KIND, VERSION, &self.state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let mut state: PitStateV1 = decode_state(KIND, VERSION, state)?;
        for channel in &mut state.channels {
            channel.sanitise();
        }
        self.state = state;
        let tick = self.tick();
        if let Some(heard) = &mut self.speaker {
            heard.speaker.begin(tick);
        }
        self.settle();
        self.serve();
        Ok(())
    }

    fn expire(&mut self, _now: u64) {
        self.serve();
    }
}

#[cfg(test)]
mod tests;
