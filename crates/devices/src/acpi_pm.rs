//! ACPI fixed hardware: PM1a event and control registers, PM timer, a block of general-purpose
//! events, and the system control interrupt.
//!
//! Spec: ACPI, chapter "ACPI Hardware Specification", sections "PM1 Event Grouping", "PM1 Control
//! Grouping", "Power Management Timer", "General-Purpose Event Register Blocks".
//!
//! The reset register that the FADT names is port CF9h, which belongs to the PCI root: it lies in
//! the middle of the configuration ports.
//!
//! There is no legacy mode: SCI_EN is always set, and the FADT must say so with SMI_CMD = 0. Of the
//! sleeping states there are S3 and S5; any other is ignored, as a chipset does that does not have it.
//!
//! In S3 everything but RAM, these registers and the RTC is without power. An enabled event wakes:
//! the machine resets what had none, and this block, which lies in the well that stays on, says with
//! WAK_STS that it was a sleep.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ports::{all_ones, read_bytes, write_bytes};
use crate::timers::{ticks_at, time_of_tick};
use crate::{
    Clock, Device, DeviceState, Line, Lines, PortRange, RestoreError, Timer, decode_state,
    encode_state,
};

/// The power management block. It may lie elsewhere: the FADT says.
pub const PORTS: [PortRange; 1] = [PortRange {
    first: 0x600,
    count: 0x40,
    offset: 0,
}];

/// Offsets and lengths for the FADT, in bytes.
pub const PM1_EVENT: u64 = 0x00;
pub const PM1_EVENT_LENGTH: u8 = 4;
pub const PM1_CONTROL: u64 = 0x04;
pub const PM1_CONTROL_LENGTH: u8 = 2;
pub const PM_TIMER: u64 = 0x08;
pub const PM_TIMER_LENGTH: u8 = 4;
pub const GPE0: u64 = 0x20;
/// Status and enable registers of 16 events each.
pub const GPE0_LENGTH: u8 = 4;
pub const GPE0_EVENTS: u8 = 16;

/// What the DSDT's \_S3 and \_S5 packages must hold.
pub const SLEEP_TYPE_S3: u8 = 1;
pub const SLEEP_TYPE_S5: u8 = 5;
/// What firmware of virtual machines writes to switch off, without having read our DSDT.
const SLEEP_TYPE_OFF: u16 = 0;

const KIND: &str = "acpi-pm";
const VERSION: u16 = 1;

/// The PM timer, in Hz.
pub const TIMER_FREQUENCY: u64 = 3_579_545;

const TIMER_STATUS: u16 = 1 << 0;
const GLOBAL_STATUS: u16 = 1 << 5;
const POWER_BUTTON_STATUS: u16 = 1 << 8;
const SLEEP_BUTTON_STATUS: u16 = 1 << 9;
const RTC_STATUS: u16 = 1 << 10;
const WAKE_STATUS: u16 = 1 << 15;
const BUS_MASTER_STATUS: u16 = 1 << 4;
const EVENTS: u16 =
    TIMER_STATUS | GLOBAL_STATUS | POWER_BUTTON_STATUS | SLEEP_BUTTON_STATUS | RTC_STATUS;
const CLEARABLE: u16 = EVENTS | WAKE_STATUS | BUS_MASTER_STATUS;

const CONTROL_SCI_ENABLE: u16 = 1 << 0;
const CONTROL_BUS_MASTER_RELOAD: u16 = 1 << 1;
const CONTROL_SLEEP_TYPE: u16 = 7 << 10;
const CONTROL_SLEEP: u16 = 1 << 13;

/// How wide the PM timer counts; the FADT's TMR_VAL_EXT flag must say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerWidth {
    Bits24,
    Bits32,
}

impl TimerWidth {
    fn bits(self) -> u32 {
        match self {
            TimerWidth::Bits24 => 24,
            TimerWidth::Bits32 => 32,
        }
    }
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct AcpiPmStateV1 {
    status: u16,
    enable: u16,
    /// SLP_EN, which reads as zero, is kept as long as the machine sleeps in S3.
    control: u16,
    gpe_status: u16,
    gpe_enable: u16,
    /// How often the timer's highest bit had changed when the status was last looked at.
    seen_changes: u64,
}

/// What the ACPI registers are wired to.
#[derive(Debug, Clone)]
pub struct AcpiPmParts {
    pub clock: Arc<dyn Clock>,
    pub timer: Arc<dyn Timer>,
    /// The system control interrupt, level-triggered.
    pub sci: Arc<dyn Line>,
    pub lines: Arc<dyn Lines>,
}

#[derive(Debug)]
pub struct AcpiPm {
    state: AcpiPmStateV1,
    width: TimerWidth,
    parts: AcpiPmParts,
}

/// `old` with the byte at `index` replaced.
fn with_byte(old: u16, index: u64, value: u8) -> u16 {
    let [low, high] = old.to_le_bytes();
    match index {
        0 => u16::from_le_bytes([value, high]),
        _ => u16::from_le_bytes([low, value]),
    }
}

fn byte_of(value: u16, index: u64) -> u8 {
    let [low, high] = value.to_le_bytes();
    if index == 0 { low } else { high }
}

impl AcpiPm {
    #[must_use]
    pub fn new(width: TimerWidth, parts: AcpiPmParts) -> AcpiPm {
        let mut device = AcpiPm {
            state: AcpiPmStateV1::default(),
            width,
            parts,
        };
        device.power_on();
        device
    }

    fn power_on(&mut self) {
        self.state = AcpiPmStateV1 {
            control: CONTROL_SCI_ENABLE,
            seen_changes: self.changes(),
            ..AcpiPmStateV1::default()
        };
    }

    /// A person pressed the power button.
    pub fn power_button(&mut self) {
        self.raise(POWER_BUTTON_STATUS);
    }

    /// A person pressed the sleep button.
    pub fn sleep_button(&mut self) {
        self.raise(SLEEP_BUTTON_STATUS);
    }

    /// The RTC raised its interrupt.
    pub fn rtc_alarm(&mut self) {
        self.raise(RTC_STATUS);
    }

    /// The end of S3: the processor is about to run again.
    pub fn woken(&mut self) {
        self.state.control &= !CONTROL_SLEEP;
        self.state.status |= WAKE_STATUS;
        self.look();
    }

    fn is_asleep(&self) -> bool {
        self.state.control & CONTROL_SLEEP != 0
    }

    fn raise(&mut self, event: u16) {
        self.state.status |= event;
        self.look();
    }

    /// General-purpose event `event` of GPE0 happened; events that do not exist are ignored.
    pub fn raise_gpe(&mut self, event: u8) {
        if event < GPE0_EVENTS {
            self.state.gpe_status |= 1 << event;
            self.look();
        }
    }

    fn ticks(&self) -> u64 {
        ticks_at(self.parts.clock.now(), TIMER_FREQUENCY)
    }

    fn timer_value(&self) -> u32 {
        let [a, b, c, d, ..] = self.ticks().to_le_bytes();
        let top = match self.width {
            TimerWidth::Bits24 => 0,
            TimerWidth::Bits32 => d,
        };
        u32::from_le_bytes([a, b, c, top])
    }

    /// How often the timer's highest bit has changed since the clock's zero.
    fn changes(&self) -> u64 {
        self.ticks() >> (self.width.bits() - 1)
    }

    /// Brings timer status, interrupt and alarm up to now.
    fn look(&mut self) {
        let changes = self.changes();
        if changes != self.state.seen_changes {
            self.state.seen_changes = changes;
            self.state.status |= TIMER_STATUS;
        }
        let fixed = self.state.status & self.state.enable & EVENTS != 0;
        let general = self.state.gpe_status & self.state.gpe_enable != 0;
        self.parts.sci.set(fixed || general);
        if self.is_asleep() && (fixed || general) {
            self.parts.lines.wake();
        }
        let wanted = self.state.enable & !self.state.status & TIMER_STATUS != 0;
        if wanted {
            let tick = changes.saturating_add(1) << (self.width.bits() - 1);
            self.parts.timer.arm(time_of_tick(tick, TIMER_FREQUENCY));
        } else {
            self.parts.timer.disarm();
        }
    }

    fn write_control(&mut self, value: u16) {
        let kept = CONTROL_BUS_MASTER_RELOAD | CONTROL_SLEEP_TYPE;
        let asleep = self.state.control & CONTROL_SLEEP;
        self.state.control = value & kept | CONTROL_SCI_ENABLE | asleep;
        if value & CONTROL_SLEEP == 0 {
            return;
        }
        let sleep_type = value >> 10 & 7;
        if sleep_type == u16::from(SLEEP_TYPE_S5) || sleep_type == SLEEP_TYPE_OFF {
            self.parts.lines.power_off();
        } else if sleep_type == u16::from(SLEEP_TYPE_S3) {
            self.state.control |= CONTROL_SLEEP;
            self.parts.lines.suspend();
        }
    }

    fn read_byte(&mut self, offset: u64) -> u8 {
        let index = offset & 1;
        match offset {
            0x00 | 0x01 => byte_of(self.state.status, index),
            0x02 | 0x03 => byte_of(self.state.enable, index),
            0x04 | 0x05 => byte_of(self.state.control & !CONTROL_SLEEP, index),
            0x20 | 0x21 => byte_of(self.state.gpe_status, index),
            0x22 | 0x23 => byte_of(self.state.gpe_enable, index),
            0x06..0x40 => 0,
            _ => 0xff,
        }
    }

    fn write_byte(&mut self, offset: u64, value: u8) {
        let index = offset & 1;
        match offset {
            // Status bits are cleared by writing ones.
            0x00 | 0x01 => self.state.status &= !(with_byte(0, index, value) & CLEARABLE),
            0x02 | 0x03 => self.state.enable = with_byte(self.state.enable, index, value) & EVENTS,
            0x04 | 0x05 => {
                self.write_control(with_byte(self.state.control & !CONTROL_SLEEP, index, value))
            }
            0x20 | 0x21 => self.state.gpe_status &= !with_byte(0, index, value),
            0x22 | 0x23 => self.state.gpe_enable = with_byte(self.state.gpe_enable, index, value),
            _ => {}
        }
    }
}

impl Device for AcpiPm {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        self.look();
        // The timer is read in one piece, so that it cannot carry between two bytes.
        if (PM_TIMER..PM_TIMER + 4).contains(&offset) {
            let value = u64::from(self.timer_value());
            return value >> (8 * (offset - PM_TIMER)) & all_ones(size);
        }
        read_bytes(offset, size, |at| self.read_byte(at))
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        self.look();
        write_bytes(offset, size, value, |at, byte| self.write_byte(at, byte));
        self.look();
    }

    fn reset(&mut self) {
        self.power_on();
        self.look();
    }

    fn save(&self) -> DeviceState {
        encode_state(KIND, VERSION, &self.state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        self.state = decode_state(KIND, VERSION, state)?;
        self.state.control |= CONTROL_SCI_ENABLE;
        if self.is_asleep() {
            self.parts.lines.suspend();
        }
        self.look();
        Ok(())
    }

    fn expire(&mut self, _now: u64) {
        self.look();
    }
}

#[cfg(test)]
mod tests;
