//! One local APIC: xAPIC and x2APIC.
//!
//! Spec: Intel SDM Vol. 3, chapter "Advanced Programmable Interrupt Controller (APIC)".
//!
//! A `Lapic` is a value that `LocalApics` keeps behind one mutex per vCPU. It never reaches
//! for another APIC: what it has to say to others (an IPI, an EOI) it returns as an [`Effect`], and
//! the caller carries that out after the lock is gone. Two things are readable without the lock,
//! because the run loop asks for them at every exit: whether an interrupt is deliverable, and where
//! the register page lies.
//!
//! Firmware's part: after reset the bootstrap processor's LINT0 is unmasked ExtINT, as every BIOS
//! sets it up, so that a kernel started directly finds the PIC connected ("virtual wire mode").
//! Not modelled: focus processor checking and arbitration (gone since the Pentium 4), CMCI. The
//! xAPIC ID is read-only, as on processors with x2APIC; the processor may do so.

mod access;
mod registers;
mod timer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use x86::ApicState;

use self::registers as reg;
use self::registers::Registers;
pub use self::timer::TIMER_HZ;
use self::timer::{ApicTimer, SavedTimer, TimerMode};
use super::message::{DeliveryMode, Destination, Message};
use super::{GeneralProtection, Tsc, VcpuEvents};
use crate::{Clock, RestoreError, Timer};

/// IA32_APIC_BASE. Spec: SDM Vol. 3, "Local APIC Status and Location".
const BASE_BSP: u64 = 1 << 8;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLED: u64 = 1 << 11;
const BASE_RESET: u64 = 0xfee0_0000;

/// Integrated APIC, six LVT entries, EOI-broadcast suppression.
const VERSION: u32 = 0x14 | 5 << 16 | 1 << 24;
/// No page: the APIC is off, or in x2APIC mode.
const NO_PAGE: u64 = u64::MAX;

/// Bits of the error status register.
mod error {
    pub(super) const SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
    pub(super) const RECEIVED_ILLEGAL_VECTOR: u32 = 1 << 6;
    pub(super) const ILLEGAL_REGISTER: u32 = 1 << 7;
}

/// Vectors below 16 are exceptions; no APIC sends or takes them.
const FIRST_VECTOR: u8 = 16;

/// What must happen outside of this APIC after a register write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Send(Message),
    /// Tell the I/O APICs that this level-triggered vector ended.
    EndOfInterrupt(u8),
}

/// What is known of an APIC without its lock.
#[derive(Debug)]
pub(super) struct Glance {
    deliverable: AtomicBool,
    task_priority: AtomicU8,
    page: AtomicU64,
}

impl Glance {
    pub(super) fn deliverable(&self) -> bool {
        self.deliverable.load(Ordering::Acquire)
    }

    pub(super) fn task_priority(&self) -> u8 {
        self.task_priority.load(Ordering::Acquire)
    }

    pub(super) fn page(&self) -> Option<u64> {
        Some(self.page.load(Ordering::Acquire)).filter(|&page| page != NO_PAGE)
    }
}

/// What an APIC is wired to.
#[derive(Debug, Clone)]
pub struct LapicParts {
    pub clock: Arc<dyn Clock>,
    /// Calls `LocalApics::expire` of this vCPU.
    pub timer: Arc<dyn Timer>,
    pub tsc: Arc<dyn Tsc>,
    pub events: Arc<dyn VcpuEvents>,
    /// MAXPHYADDR of the CPU model, in bits.
    pub physical_bits: u8,
    /// Does the CPU model have x2APIC mode?
    pub has_x2apic: bool,
}

#[derive(Debug)]
pub(super) struct Lapic {
    /// The vCPU's number, which is its APIC ID.
    cpu: u32,
    base: u64,
    registers: Registers,
    /// Errors since the guest last wrote ESR.
    errors: u32,
    lint: [bool; 2],
    /// An ExtINT message that has not been acknowledged.
    external: bool,
    timer: ApicTimer,
    physical_bits: u8,
    has_x2apic: bool,
    events: Arc<dyn VcpuEvents>,
    glance: Arc<Glance>,
}

impl Lapic {
    pub(super) fn new(cpu: u32, parts: LapicParts) -> Lapic {
        let glance = Glance {
            deliverable: AtomicBool::new(false),
            task_priority: AtomicU8::new(0),
            page: AtomicU64::new(NO_PAGE),
        };
        let mut apic = Lapic {
            cpu,
            base: 0,
            registers: Registers::new(),
            errors: 0,
            lint: [false; 2],
            external: false,
            timer: ApicTimer::new(cpu, parts.clock, parts.timer, parts.tsc),
            physical_bits: parts.physical_bits.clamp(32, 52),
            has_x2apic: parts.has_x2apic,
            events: parts.events,
            glance: Arc::new(glance),
        };
        apic.reset();
        apic
    }

    pub(super) fn glance(&self) -> Arc<Glance> {
        Arc::clone(&self.glance)
    }

    fn bootstrap(&self) -> bool {
        self.cpu == 0
    }

    pub(super) fn reset(&mut self) {
        self.base = BASE_RESET | BASE_ENABLED;
        if self.bootstrap() {
            self.base |= BASE_BSP;
        }
        self.init();
        self.identify();
    }

    /// What INIT leaves: everything as after reset but IA32_APIC_BASE and the APIC ID.
    /// Spec: SDM Vol. 3, "Local APIC State After Power-Up or Reset" and the two after it.
    pub(super) fn init(&mut self) {
        let id = self.registers.get(reg::ID);
        self.registers = Registers::new();
        self.registers.set(reg::ID, id);
        self.registers.set(reg::VERSION, VERSION);
        self.registers.set(reg::DFR, u32::MAX);
        self.registers.set(reg::SVR, 0xff);
        for entry in reg::LVT_TIMER..=reg::LVT_ERROR {
            self.registers.set(entry, reg::LVT_MASKED);
        }
        if self.bootstrap() {
            self.registers.set(reg::LVT_LINT0, 7 << 8);
        }
        if self.x2apic() {
            self.identify();
        }
        self.errors = 0;
        self.external = false;
        self.timer.reset();
        self.update();
    }

    fn enabled(&self) -> bool {
        self.base & BASE_ENABLED != 0
    }

    fn x2apic(&self) -> bool {
        self.base & BASE_X2APIC != 0
    }

    fn software_enabled(&self) -> bool {
        self.enabled() && self.registers.get(reg::SVR) & reg::SVR_ENABLED != 0
    }

    /// ID and, in x2APIC mode, the logical ID made from it.
    fn identify(&mut self) {
        if self.x2apic() {
            self.registers.set(reg::ID, self.cpu);
            let logical = (self.cpu >> 4) << 16 | 1 << (self.cpu & 0xf);
            self.registers.set(reg::LDR, logical);
        } else {
            self.registers.set(reg::ID, self.cpu << 24);
        }
    }

    /// Publishes what the run loop looks at, and wakes the vCPU when there is something new for it.
    fn update(&mut self) {
        let deliverable = self.takes_external() || self.next_vector().is_some();
        let page = match self.base & (BASE_ENABLED | BASE_X2APIC) {
            BASE_ENABLED => self.page_address(),
            _ => NO_PAGE,
        };
        let priority = self.registers.get(reg::TPR).to_le_bytes()[0];
        self.glance.task_priority.store(priority, Ordering::Release);
        self.glance.page.store(page, Ordering::Release);
        let before = self.glance.deliverable.swap(deliverable, Ordering::AcqRel);
        if deliverable && !before {
            self.events.interrupt_pending(self.cpu);
        }
    }

    fn page_address(&self) -> u64 {
        self.base & self.page_bits()
    }

    /// The bits of IA32_APIC_BASE that say where the page is.
    fn page_bits(&self) -> u64 {
        (1 << self.physical_bits) - 0x1000
    }

    /// Spec: SDM Vol. 3, "Task and Processor Priorities".
    pub(super) fn processor_priority(&self) -> u8 {
        let task = self.registers.get(reg::TPR).to_le_bytes()[0];
        let serving = self.registers.highest(reg::ISR).unwrap_or(0);
        if task >> 4 >= serving >> 4 {
            task
        } else {
            serving & 0xf0
        }
    }

    /// The vector that outranks what the processor is doing.
    fn next_vector(&self) -> Option<u8> {
        if !self.enabled() {
            return None;
        }
        let priority = self.processor_priority() >> 4;
        self.registers
            .highest(reg::IRR)
            .filter(|vector| vector >> 4 > priority)
    }

    /// Does the PIC reach this processor, and is it asking? With the APIC off, LINT0 is INTR.
    pub(super) fn takes_external(&self) -> bool {
        if !self.enabled() {
            return self.lint[0];
        }
        let entry = self.registers.get(reg::LVT_LINT0);
        let wired = entry & reg::LVT_MASKED == 0 && entry >> 8 & 7 == 7;
        self.external || (wired && self.lint[0])
    }

    /// The PIC has been acknowledged for this processor.
    pub(super) fn external_taken(&mut self) {
        self.external = false;
        self.update();
    }

    /// Begins service of the highest deliverable vector.
    pub(super) fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.next_vector();
        if let Some(vector) = vector {
            self.registers.put(reg::IRR, vector, false);
            self.registers.put(reg::ISR, vector, true);
        }
        self.update();
        vector
    }

    pub(super) fn set_task_priority(&mut self, value: u8) {
        self.registers.set(reg::TPR, u32::from(value));
        self.update();
    }

    /// Takes an interrupt that is addressed to this APIC.
    pub(super) fn accept(&mut self, message: &Message) {
        if !self.enabled() {
            return;
        }
        match message.mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                self.request(message.vector, message.level_triggered);
            }
            DeliveryMode::ExtInt => {
                self.external = true;
                self.update();
            }
            DeliveryMode::Smi => self.events.smi(self.cpu),
            DeliveryMode::Nmi => self.events.nmi(self.cpu),
            DeliveryMode::Init => {
                self.init();
                self.events.init(self.cpu);
            }
            DeliveryMode::Startup => self.events.startup(self.cpu, message.vector),
        }
    }

    /// Can this APIC be chosen by lowest-priority arbitration?
    pub(super) fn arbitrates(&self) -> bool {
        self.software_enabled()
    }

    fn request(&mut self, vector: u8, level_triggered: bool) {
        if vector < FIRST_VECTOR {
            self.raise_error(error::RECEIVED_ILLEGAL_VECTOR);
        } else if self.software_enabled() {
            self.registers.put(reg::IRR, vector, true);
            self.registers.put(reg::TMR, vector, level_triggered);
            self.update();
        }
    }

    /// An error is told once until the guest has written ESR: an error vector that is itself
    /// illegal would else be an error for ever.
    fn raise_error(&mut self, bit: u32) {
        let new = self.errors & bit == 0;
        self.errors |= bit;
        if new {
            self.fire(reg::LVT_ERROR);
        }
    }

    /// A local source asks for what its LVT entry says.
    fn fire(&mut self, entry: usize) {
        let lvt = self.registers.get(entry);
        if lvt & reg::LVT_MASKED != 0 {
            return;
        }
        let vector = lvt.to_le_bytes()[0];
        if matches!(entry, reg::LVT_TIMER | reg::LVT_ERROR) {
            self.request(vector, false);
            return;
        }
        match DeliveryMode::from_bits(lvt >> 8) {
            Some(DeliveryMode::Fixed) => {
                // LINT1 is always edge-triggered.
                let level = entry == reg::LVT_LINT0 && lvt & reg::LVT_LEVEL != 0;
                if level {
                    self.registers.set(entry, lvt | reg::LVT_REMOTE_IRR);
                }
                self.request(vector, level);
            }
            Some(DeliveryMode::Nmi) => self.events.nmi(self.cpu),
            Some(DeliveryMode::Smi) => self.events.smi(self.cpu),
            Some(DeliveryMode::Init) => {
                self.init();
                self.events.init(self.cpu);
            }
            // ExtINT is a level that `takes_external` looks at.
            _ => {}
        }
    }

    /// The level of a LINT pin: 0 is the PIC's INTR, 1 is NMI.
    pub(super) fn set_lint(&mut self, pin: usize, high: bool) {
        let Some(level) = self.lint.get_mut(pin) else {
            return;
        };
        let rising = high && !*level;
        *level = high;
        if !self.enabled() {
            if rising && pin == 1 {
                self.events.nmi(self.cpu);
            }
        } else if rising {
            self.fire(reg::LVT_LINT0 + pin);
        }
        self.update();
    }

    /// A level-triggered LINT0 that is still high asks again.
    fn retry_lint0(&mut self) {
        let lvt = self.registers.get(reg::LVT_LINT0);
        let asks = lvt & (reg::LVT_LEVEL | reg::LVT_REMOTE_IRR) == reg::LVT_LEVEL;
        if asks && self.lint[0] && self.enabled() {
            self.fire(reg::LVT_LINT0);
        }
    }

    fn end_of_interrupt(&mut self) -> Option<Effect> {
        let vector = self.registers.highest(reg::ISR)?;
        self.registers.put(reg::ISR, vector, false);
        let level = self.registers.has(reg::TMR, vector);
        let lint0 = self.registers.get(reg::LVT_LINT0);
        if level && lint0 & reg::LVT_REMOTE_IRR != 0 && lint0.to_le_bytes()[0] == vector {
            self.registers
                .set(reg::LVT_LINT0, lint0 & !reg::LVT_REMOTE_IRR);
            self.retry_lint0();
        }
        self.update();
        let quiet = self.registers.get(reg::SVR) & reg::SVR_SUPPRESS_EOI_BROADCAST != 0;
        (level && !quiet).then_some(Effect::EndOfInterrupt(vector))
    }

    /// Delivers a timer interrupt that is due.
    pub(super) fn sync_timer(&mut self) {
        if self.timer.take_expired() {
            self.fire(reg::LVT_TIMER);
        }
    }

    pub(super) fn tsc_moved(&mut self) {
        self.timer.tsc_moved();
    }

    /// Is this APIC among those that `destination` names?
    /// Spec: SDM Vol. 3, "Determining IPI Destination".
    pub(super) fn is_destination(&self, destination: Destination) -> bool {
        match destination {
            Destination::Everyone => true,
            Destination::Only(cpu) => cpu == self.cpu,
            Destination::Others(cpu) => cpu != self.cpu,
            Destination::Physical(id) => id == self.physical_id(),
            Destination::Logical(id) => self.is_logical(id),
        }
    }

    /// The number that physical destinations name. Guests may change it in xAPIC mode, where there
    /// are only eight bits of it: processors beyond those are known by their own number alone.
    fn physical_id(&self) -> u32 {
        if self.x2apic() || self.cpu > 0xff {
            self.cpu
        } else {
            self.registers.get(reg::ID) >> 24
        }
    }

    /// Has the guest given this APIC another ID than its processor's number?
    pub(super) fn is_renumbered(&self) -> bool {
        self.physical_id() != self.cpu
    }

    fn is_logical(&self, id: u32) -> bool {
        let logical = self.registers.get(reg::LDR);
        if self.x2apic() {
            return logical >> 16 == id >> 16 && logical & id & 0xffff != 0;
        }
        let logical = logical >> 24;
        if id > 0xff {
            return false;
        }
        if self.registers.get(reg::DFR) >> 28 == 0xf {
            return logical & id != 0;
        }
        logical >> 4 == id >> 4 && logical & id & 0xf != 0
    }

    /// The state that every engine reads. What has no register is kept in the reserved one at
    /// offset 290h: errors not yet latched in bits 7:0, an ExtINT in wait in bit 8.
    pub(super) fn state(&mut self) -> ApicState {
        self.sync_timer();
        let mut registers = self.registers.clone();
        registers.set(reg::PPR, u32::from(self.processor_priority()));
        registers.set(reg::INITIAL_COUNT, self.timer.initial());
        registers.set(reg::CURRENT_COUNT, self.timer.current());
        registers.set(reg::HIDDEN, self.errors | u32::from(self.external) << 8);
        ApicState {
            base: self.base,
            registers: registers.to_vec(),
            tsc_deadline: self.timer.tsc_deadline(),
        }
    }

    /// Becomes `state`. One without registers is the state after reset.
    pub(super) fn set_state(&mut self, state: &ApicState) -> Result<(), RestoreError> {
        if state.registers.is_empty() {
            self.reset();
            return Ok(());
        }
        let damaged = |what: &str| RestoreError::Damaged {
            kind: "lapic".to_owned(),
            what: what.to_owned(),
        };
        let registers = Registers::from_slice(&state.registers)
            .ok_or_else(|| damaged("it has not 64 registers"))?;
        if state.base & self.base_reserved() != 0
            || state.base & (BASE_ENABLED | BASE_X2APIC) == BASE_X2APIC
        {
            return Err(damaged("its base is impossible"));
        }
        self.base = state.base;
        self.registers = registers;
        self.sanitise();
        if self.x2apic() {
            self.identify();
        }
        self.timer.resume(SavedTimer {
            lvt: self.registers.get(reg::LVT_TIMER),
            divide: self.registers.get(reg::DIVIDE),
            initial: self.registers.get(reg::INITIAL_COUNT),
            current: self.registers.get(reg::CURRENT_COUNT),
            tsc_deadline: state.tsc_deadline,
        });
        self.update();
        Ok(())
    }

    /// Brings registers from outside to values that a guest could have made.
    fn sanitise(&mut self) {
        let hidden = self.registers.get(reg::HIDDEN);
        self.registers.set(reg::HIDDEN, 0);
        self.errors = hidden & 0xff;
        self.external = hidden & 0x100 != 0;
        self.registers.set(reg::VERSION, VERSION);
        for (register, kept) in [
            (reg::ID, 0xff00_0000),
            (reg::TPR, 0xff),
            (reg::SVR, 0x13ff),
            (reg::DIVIDE, 0xb),
        ] {
            self.registers
                .set(register, self.registers.get(register) & kept);
        }
        for entry in reg::LVT_TIMER..=reg::LVT_ERROR {
            let kept = reg::lvt_writable(entry) | reg::LVT_REMOTE_IRR;
            self.registers.set(entry, self.registers.get(entry) & kept);
        }
        for set in [reg::ISR, reg::TMR, reg::IRR] {
            self.registers
                .set(set, self.registers.get(set) & 0xffff_0000);
        }
    }
}

#[cfg(test)]
mod tests;
