//! The local APICs of all vCPUs, and the bus between them.
//!
//! Spec: Intel SDM Vol. 3, "Issuing Interprocessor Interrupts", "Lowest Priority Delivery Mode".
//!
//! Every APIC has its own lock and no two are ever held at once: a sender's lock is released before
//! the message is carried to its targets, one after the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use x86::ApicState;

use super::lapic::{Effect, Glance, Lapic, LapicParts};
use super::message::{DeliveryMode, Destination, Message};
use super::{GeneralProtection, IoApic};
use crate::ports::locked;
use crate::{Line, MsiSink, RestoreError};

#[derive(Debug)]
struct Slot {
    glance: Arc<Glance>,
    apic: Mutex<Lapic>,
}

/// All local APICs. Methods take the vCPU's number, which is its APIC ID; a number that no vCPU
/// has is answered as an absent APIC would.
#[derive(Debug)]
pub struct LocalApics {
    slots: Vec<Slot>,
    /// Some APIC has another ID than its number, perhaps one that another has too.
    renumbered: AtomicBool,
    /// Who hears the end of level-triggered interrupts.
    ioapic: OnceLock<Weak<Mutex<IoApic>>>,
}

impl LocalApics {
    /// One APIC for each element; element n is vCPU n's, and 0 is the bootstrap processor.
    #[must_use]
    pub fn new(parts: Vec<LapicParts>) -> LocalApics {
        let slots = (0u32..).zip(parts).map(|(cpu, parts)| {
            let apic = Lapic::new(cpu, parts);
            Slot {
                glance: apic.glance(),
                apic: Mutex::new(apic),
            }
        });
        LocalApics {
            slots: slots.collect(),
            renumbered: AtomicBool::new(false),
            ioapic: OnceLock::new(),
        }
    }

    /// Broadcasts EOIs to `ioapic` from now on. The first call decides.
    pub fn connect(&self, ioapic: &Arc<Mutex<IoApic>>) {
        // A second I/O APIC does not exist on this board.
        let _ = self.ioapic.set(Arc::downgrade(ioapic));
    }

    /// How many there are. No machine has more than a 32-bit number of them.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    fn slot(&self, cpu: u32) -> Option<&Slot> {
        self.slots.get(usize::try_from(cpu).ok()?)
    }

    fn with<R>(&self, cpu: u32, act: impl FnOnce(&mut Lapic) -> R) -> Option<R> {
        self.slot(cpu).map(|slot| act(&mut locked(&slot.apic)))
    }

    /// Is there an interrupt that vCPU `cpu` would take now if it has them enabled? Takes no lock.
    #[must_use]
    pub fn has_interrupt(&self, cpu: u32) -> bool {
        self.slot(cpu).is_some_and(|slot| slot.glance.deliverable())
    }

    /// Where the 4 KiB register page of this vCPU lies in guest-physical memory; `None` when there
    /// is none (APIC off, or x2APIC mode). Takes no lock.
    #[must_use]
    pub fn page(&self, cpu: u32) -> Option<u64> {
        self.slot(cpu).and_then(|slot| slot.glance.page())
    }

    /// Is the PIC asking this processor? Then it, and not this APIC, names the vector.
    pub(super) fn takes_external(&self, cpu: u32) -> bool {
        self.has_interrupt(cpu)
            && self
                .with(cpu, |apic| apic.takes_external())
                .unwrap_or(false)
    }

    pub(super) fn external_taken(&self, cpu: u32) {
        self.with(cpu, Lapic::external_taken);
    }

    /// Begins service of the most urgent vector of this APIC, if one is deliverable.
    pub(super) fn acknowledge(&self, cpu: u32) -> Option<u8> {
        self.with(cpu, Lapic::acknowledge).flatten()
    }

    /// CR8: the task priority's upper four bits. Takes no lock.
    #[must_use]
    pub fn task_priority(&self, cpu: u32) -> u8 {
        self.slot(cpu)
            .map_or(0, |slot| slot.glance.task_priority() >> 4)
    }

    /// Writes CR8, 0 to 15.
    pub fn set_task_priority(&self, cpu: u32, cr8: u8) {
        self.with(cpu, |apic| apic.set_task_priority(cr8 << 4));
    }

    /// Reads the register page. `offset` counts from its start.
    #[must_use]
    pub fn read_page(&self, cpu: u32, offset: u64, size: u8) -> u64 {
        self.with(cpu, |apic| apic.read_page(offset, size))
            .unwrap_or(u64::MAX)
    }

    pub fn write_page(&self, cpu: u32, offset: u64, size: u8, value: u64) {
        let done = self.with(cpu, |apic| {
            let effect = apic.write_page(offset, size, value);
            (effect, apic.is_renumbered())
        });
        if let Some((effect, renumbered)) = done {
            self.note_renumbered(renumbered);
            self.carry_out(effect);
        }
    }

    /// RDMSR of IA32_APIC_BASE, IA32_TSC_DEADLINE and 800h to 8FFh.
    ///
    /// # Errors
    /// When the access is one that faults.
    pub fn read_msr(&self, cpu: u32, index: u32) -> Result<u64, GeneralProtection> {
        self.with(cpu, |apic| apic.read_msr(index))
            .unwrap_or(Err(GeneralProtection))
    }

    /// WRMSR of the same.
    ///
    /// # Errors
    /// When the access is one that faults.
    pub fn write_msr(&self, cpu: u32, index: u32, value: u64) -> Result<(), GeneralProtection> {
        let effect = self
            .with(cpu, |apic| apic.write_msr(index, value))
            .unwrap_or(Err(GeneralProtection))?;
        self.carry_out(effect);
        Ok(())
    }

    fn note_renumbered(&self, renumbered: bool) {
        if renumbered {
            self.renumbered.store(true, Ordering::Release);
        }
    }

    fn carry_out(&self, effect: Option<Effect>) {
        match effect {
            None => {}
            Some(Effect::Send(message)) => self.deliver(message),
            Some(Effect::EndOfInterrupt(vector)) => {
                if let Some(ioapic) = self.ioapic.get().and_then(Weak::upgrade) {
                    locked(&ioapic).eoi(vector);
                }
            }
        }
    }

    /// Carries a message to every APIC that it names.
    pub fn deliver(&self, message: Message) {
        if message.mode == DeliveryMode::LowestPriority {
            self.deliver_to_one(&message);
            return;
        }
        let only = match message.destination {
            Destination::Only(cpu) => Some(cpu),
            Destination::Physical(id) if !self.renumbered.load(Ordering::Acquire) => Some(id),
            _ => None,
        };
        if let Some(cpu) = only {
            self.with(cpu, |apic| apic.accept(&message));
            return;
        }
        for slot in &self.slots {
            let mut apic = locked(&slot.apic);
            if apic.is_destination(message.destination) {
                apic.accept(&message);
            }
        }
    }

    /// Lowest priority: the processor that is doing the least urgent work. Among equals the vector
    /// decides, so that vectors spread over processors and the choice can be replayed.
    fn deliver_to_one(&self, message: &Message) {
        let candidates: Vec<(u8, &Slot)> = self
            .slots
            .iter()
            .filter_map(|slot| {
                let apic = locked(&slot.apic);
                let able = apic.is_destination(message.destination) && apic.arbitrates();
                able.then(|| (apic.processor_priority() >> 4, slot))
            })
            .collect();
        let lowest = candidates.iter().map(|(priority, _)| *priority).min();
        let equals: Vec<&Slot> = candidates
            .iter()
            .filter(|(priority, _)| Some(*priority) == lowest)
            .map(|(_, slot)| *slot)
            .collect();
        let turn = usize::from(message.vector)
            .checked_rem(equals.len())
            .unwrap_or(0);
        if let Some(slot) = equals.get(turn) {
            locked(&slot.apic).accept(message);
        }
    }

    /// The timer of this vCPU's APIC has expired.
    pub fn expire(&self, cpu: u32) {
        self.with(cpu, Lapic::sync_timer);
    }

    /// The guest's TSC of this vCPU has been set or adjusted.
    pub fn tsc_moved(&self, cpu: u32) {
        self.with(cpu, Lapic::tsc_moved);
    }

    /// Machine reset of every APIC.
    pub fn reset(&self) {
        self.renumbered.store(false, Ordering::Release);
        for slot in &self.slots {
            locked(&slot.apic).reset();
        }
    }

    /// The APIC's part of the vCPU's state; without registers when there is no such vCPU.
    #[must_use]
    pub fn state(&self, cpu: u32) -> ApicState {
        self.with(cpu, Lapic::state).unwrap_or_default()
    }

    /// # Errors
    /// When `state` is not an APIC's. The APIC is then unchanged.
    pub fn set_state(&self, cpu: u32, state: &ApicState) -> Result<(), RestoreError> {
        self.with(cpu, |apic| {
            apic.set_state(state)?;
            self.note_renumbered(apic.is_renumbered());
            Ok(())
        })
        .unwrap_or(Ok(()))
    }

    /// The wire to pin LINT0 (0, the PIC's INTR) or LINT1 (1, NMI) of every processor.
    fn set_lint(&self, pin: usize, high: bool) {
        for slot in &self.slots {
            locked(&slot.apic).set_lint(pin, high);
        }
    }
}

impl MsiSink for LocalApics {
    fn send(&self, address: u64, data: u32) {
        if let Some(message) = Message::from_msi(address, data) {
            self.deliver(message);
        }
    }
}

/// One of the two wires that end at every local APIC.
#[derive(Debug)]
pub struct LintLine {
    apics: Arc<LocalApics>,
    pin: usize,
}

impl LintLine {
    /// The PIC's INTR.
    #[must_use]
    pub fn intr(apics: Arc<LocalApics>) -> LintLine {
        LintLine { apics, pin: 0 }
    }

    /// The board's NMI: parity, watchdog, or a person's NMI button.
    #[must_use]
    pub fn nmi(apics: Arc<LocalApics>) -> LintLine {
        LintLine { apics, pin: 1 }
    }
}

impl Line for LintLine {
    fn set(&self, high: bool) {
        self.apics.set_lint(self.pin, high);
    }
}
