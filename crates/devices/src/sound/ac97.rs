//! Intel's 82801AA audio controller with a codec: AC'97, which systems from 1998 on know.
//!
//! Each of three engines goes through a list of 32 buffers at the pace of its rate: one plays, two record
//! silence. Time is the machine's clock: an engine is brought up to the present when it is looked at, and by an
//! alarm. The mixer's registers are kept and do nothing: the file has what was played.
//! Spec: Intel 82801AA (ICH) datasheet, "AC'97 Audio Controller"; Audio Codec '97 Revision 2.3.

#![allow(
    clippy::cast_possible_truncation,
    reason = "registers are parts of wider values"
)]

mod engine;
mod mixer;

use std::sync::{Arc, Mutex};

use memory::GuestMemory;
use serde::{Deserialize, Serialize};

use super::Wave;
use crate::pci::{
    BarKind, COMMAND_BUS_MASTER, ConfigSpace, ConfigState, Identity, PciFunction, Pin,
};
use crate::ports::{all_ones, locked, read_bytes};
use crate::{Clock, DeviceState, Line, RestoreError, Timer, decode_state, encode_state};

use engine::{ENGINE_LEN, Engine, Progress};
use mixer::Mixer;

const KIND: &str = "ac97";
const VERSION: u16 = 1;
const IDENTITY: Identity = Identity {
    vendor: 0x8086,
    device: 0x2415,
    subsystem_vendor: 0x8086,
    subsystem: 0,
    // Multimedia, audio.
    class: 0x04_01_00,
    revision: 1,
};
const MIXER_BAR: u8 = 0;
const MIXER_LEN: u64 = 256;
const ENGINES_BAR: u8 = 1;
const ENGINES_LEN: u64 = 64;

const ENGINES: usize = 3;
const OUT: usize = 1;
const CONTROL: u64 = 0x2c;
const CONTROL_WRITABLE: u32 = 0x3f;
/// Low, the codec is reset.
const CONTROL_COLD: u32 = 1 << 1;
const CONTROL_WARM: u32 = 1 << 2;
const STATUS: u64 = 0x30;
const STATUS_READY: u32 = 1 << 8;
/// Which engine interrupts: in, out, microphone.
const STATUS_FIRST: u32 = 5;
const SEMAPHORE: u64 = 0x34;

/// Between two looks while something plays, in nanoseconds.
const LOOK: u64 = 10_000_000;

/// What a controller is wired to.
#[derive(Debug)]
pub struct Ac97Parts {
    pub memory: GuestMemory,
    pub clock: Arc<dyn Clock>,
    pub timer: Arc<dyn Timer>,
    pub line: Arc<dyn Line>,
    /// Where what it plays goes.
    pub output: Option<Wave>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Registers {
    mixer: Mixer,
    engines: [Engine; ENGINES],
    control: u32,
    semaphore: u8,
}

impl Registers {
    fn power_on() -> Registers {
        Registers {
            mixer: Mixer::power_on(),
            engines: std::array::from_fn(|_| Engine::power_on()),
            control: 0,
            semaphore: 0,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Ac97StateV1 {
    config: ConfigState,
    registers: Registers,
}

#[derive(Debug)]
struct Core {
    registers: Registers,
    memory: GuestMemory,
    clock: Arc<dyn Clock>,
    timer: Arc<dyn Timer>,
    pin: Pin,
    output: Option<Wave>,
    /// The function may master the bus.
    may_dma: bool,
    /// The machine saves, restores or is paused.
    paused: bool,
    /// Up to when the engines were brought.
    seen: u64,
}

/// The controller on the PCI bus.
#[derive(Debug)]
pub struct Ac97 {
    config: ConfigSpace,
    core: Arc<Mutex<Core>>,
}

impl Ac97 {
    #[must_use]
    pub fn new(parts: Ac97Parts) -> Ac97 {
        let config = ConfigSpace::new(&IDENTITY)
            .with_bar(MIXER_BAR, BarKind::Io, MIXER_LEN)
            .with_bar(ENGINES_BAR, BarKind::Io, ENGINES_LEN)
            .with_interrupt_pin(1);
        let seen = parts.clock.now();
        Ac97 {
            config,
            core: Arc::new(Mutex::new(Core {
                registers: Registers::power_on(),
                memory: parts.memory,
                clock: parts.clock,
                timer: parts.timer,
                pin: Pin::new(parts.line),
                output: parts.output,
                may_dma: false,
                paused: false,
                seen,
            })),
        }
    }

    /// What is called when the timer expires.
    pub fn alarm(&self) -> impl Fn(u64) + Send + Sync + use<> {
        let core = Arc::clone(&self.core);
        move |_| locked(&core).catch_up()
    }

    fn follow_config(&self) {
        let mut core = locked(&self.core);
        core.catch_up();
        let command = self.config.command();
        core.pin.follow(command);
        core.may_dma = command & COMMAND_BUS_MASTER != 0;
        core.settle();
    }
}

impl Core {
    /// Brings the engines up to the present.
    fn catch_up(&mut self) {
        let now = self.clock.now();
        let elapsed = now.saturating_sub(self.seen);
        self.seen = now;
        if self.may_dma && !self.paused {
            let rates = self.registers.mixer.rates();
            for (index, engine) in self.registers.engines.iter_mut().enumerate() {
                let output = self.output.as_mut().filter(|_| index == OUT);
                let mut progress = Progress {
                    memory: &self.memory,
                    plays: index == OUT,
                    output,
                    rate: rates[index],
                };
                engine.advance(elapsed, &mut progress);
            }
        }
        self.settle();
    }

    /// The interrupt and the alarm are as the registers say.
    fn settle(&self) {
        let engines = &self.registers.engines;
        self.pin.set(engines.iter().any(Engine::interrupts));
        let runs = engines.iter().any(Engine::runs);
        if runs && self.may_dma && !self.paused {
            self.timer.arm(self.seen.saturating_add(LOOK));
        } else {
            self.timer.disarm();
        }
    }

    fn status(&self) -> u32 {
        let ready = match self.registers.control & CONTROL_COLD {
            0 => 0,
            _ => STATUS_READY,
        };
        let engines = self.registers.engines.iter().enumerate();
        engines.fold(ready, |status, (index, engine)| {
            status | u32::from(engine.interrupts()) << (STATUS_FIRST + index as u32)
        })
    }

    fn byte(&mut self, offset: u64) -> u8 {
        let of = |value: u32| value.to_le_bytes()[(offset & 3) as usize];
        match offset {
            CONTROL..STATUS => of(self.registers.control),
            STATUS..SEMAPHORE => of(self.status()),
            // Whoever reads it has it from then on.
            SEMAPHORE => std::mem::replace(&mut self.registers.semaphore, 1),
            at => {
                let engine = self.registers.engines.get((at / ENGINE_LEN) as usize);
                engine.map_or(0, |engine| engine.byte(at % ENGINE_LEN))
            }
        }
    }

    fn write(&mut self, offset: u64, size: u8, value: u32) {
        match offset {
            CONTROL if size == 4 => {
                self.registers.control = value & CONTROL_WRITABLE & !CONTROL_WARM;
                if value & CONTROL_COLD == 0 {
                    self.registers = Registers {
                        control: self.registers.control,
                        ..Registers::power_on()
                    };
                }
            }
            SEMAPHORE => self.registers.semaphore = 0,
            at => {
                let engine = self.registers.engines.get_mut((at / ENGINE_LEN) as usize);
                if let Some(engine) = engine {
                    engine.write(at % ENGINE_LEN, size, value, &self.memory);
                }
            }
        }
    }
}

impl PciFunction for Ac97 {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_read(&mut self, offset: u16, size: u8) -> u32 {
        self.config.read(offset, size) | locked(&self.core).pin.status(offset, size)
    }

    fn config_write(&mut self, offset: u16, size: u8, value: u32) {
        self.config.write(offset, size, value);
        self.follow_config();
    }

    fn bar_read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        let mut core = locked(&self.core);
        core.catch_up();
        match bar {
            MIXER_BAR if size <= 2 => {
                core.registers.semaphore = 0;
                let value = u64::from(core.registers.mixer.read(offset));
                value >> (8 * (offset & 1)) & all_ones(size)
            }
            ENGINES_BAR => read_bytes(offset, size, |at| core.byte(at)),
            _ => all_ones(size),
        }
    }

    fn bar_write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        let mut core = locked(&self.core);
        core.catch_up();
        match bar {
            MIXER_BAR if size == 2 => {
                core.registers.semaphore = 0;
                core.registers.mixer.write(offset, value as u16);
            }
            ENGINES_BAR => core.write(offset, size, value as u32),
            _ => {}
        }
        core.settle();
    }

    fn reset(&mut self) {
        self.config.reset();
        locked(&self.core).registers = Registers::power_on();
        self.follow_config();
    }

    fn save(&self) -> DeviceState {
        let state = Ac97StateV1 {
            config: self.config.save(),
            registers: locked(&self.core).registers.clone(),
        };
        encode_state(KIND, VERSION, &state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let state: Ac97StateV1 = decode_state(KIND, VERSION, state)?;
        let damaged = |what: String| RestoreError::Damaged {
            kind: KIND.into(),
            what,
        };
        state.registers.mixer.check().map_err(damaged)?;
        self.config.restore(&state.config).map_err(damaged)?;
        let mut core = locked(&self.core);
        core.registers = state.registers;
        core.seen = core.clock.now();
        let command = self.config.command();
        core.pin.follow(command);
        core.may_dma = command & COMMAND_BUS_MASTER != 0;
        core.settle();
        Ok(())
    }

    fn quiesce(&mut self) {
        let mut core = locked(&self.core);
        core.catch_up();
        core.paused = true;
        core.settle();
    }

    fn resume(&mut self) {
        let mut core = locked(&self.core);
        core.paused = false;
        core.seen = core.clock.now();
        core.settle();
    }
}

#[cfg(test)]
mod tests;
