//! What the machine answers to each exit.

use engine::{EngineError, Entry, Exit};
use memory::{Gpa, PAGE_SIZE};
use x86::register::rflags;
use x86::{Activity, Exception, msr};

use super::{VcpuRunner, hypercall};
use crate::control::Outcome;
use crate::msrs::Fault;

/// A TSC-deadline is computed from a moment no older than this, in nanoseconds: the measured rate
/// is exact to some parts in a million.
const OLDEST_MOMENT: u64 = 20_000_000;

impl VcpuRunner {
    pub(super) fn answer(&mut self, exit: Exit) -> Result<(), EngineError> {
        // Most exits are in the middle of an instruction.
        self.settled = false;
        self.entry = match exit {
            Exit::PortRead { port, size } => {
                Entry::CompleteRead(self.ports.read(u64::from(port), size))
            }
            Exit::PortWrite { port, size, value } => {
                self.ports.write(u64::from(port), size, u64::from(value));
                Entry::Resume
            }
            Exit::PortReadString { port, size } => {
                let string = self.vcpu.string();
                self.ports.read_string(u64::from(port), size, string);
                Entry::Resume
            }
            Exit::PortWriteString { port, size } => {
                let string = self.vcpu.string();
                self.ports.write_string(u64::from(port), size, string);
                Entry::Resume
            }
            Exit::MmioRead { gpa, size } => Entry::CompleteRead(self.mmio_read(gpa, size)),
            Exit::MmioWrite { gpa, size, value } => {
                self.mmio_write(gpa, size, value);
                Entry::Resume
            }
            Exit::MsrRead { index } => self.read_msr(index)?.map_or(FAULT, Entry::CompleteRead),
            Exit::MsrWrite { index, value } => self
                .write_msr(index, value)?
                .map_or(FAULT, |()| Entry::Resume),
            Exit::TprRead => Entry::CompleteRead(self.task_priority()),
            Exit::TprWrite { value } => {
                self.set_task_priority(value);
                Entry::Resume
            }
            Exit::Hypercall { number, args } => {
                let irqchip = self.shared.irqchip.as_deref();
                let apics = irqchip.map(|irqchip| irqchip.apics().as_ref());
                Entry::CompleteRead(hypercall::answer(number, args, apics))
            }
            other => return self.answer_event(other),
        };
        Ok(())
    }

    /// Exits between two instructions.
    fn answer_event(&mut self, exit: Exit) -> Result<(), EngineError> {
        self.settled = true;
        match exit {
            Exit::InterruptWindow => self.inject(),
            Exit::Halted => self.halt()?,
            Exit::TripleFault => self.shared.control.end(Outcome::TripleFault),
            Exit::Failed { what } => self.shared.control.end(Outcome::EngineFailed(what)),
            // No debugger is attached: nothing asked for such an exit. Nor is there an interrupt
            // controller of ours that waits for an EOI from the engine.
            Exit::Debug { .. } | Exit::LevelEoi { .. } | Exit::Interrupted => {}
            _ => self.settled = false,
        }
        Ok(())
    }

    fn halt(&mut self) -> Result<(), EngineError> {
        self.activity = Activity::Halted;
        self.deaf = self.vcpu.state()?.rflags & rflags::IF == 0;
        Ok(())
    }

    /// The offset in this vCPU's APIC page, if `gpa` is in it. Every vCPU has its page at the same
    /// address, so it is no device of the bus.
    fn apic_offset(&self, gpa: Gpa) -> Option<u64> {
        let page = self.shared.irqchip.as_ref()?.apics().page(self.id)?;
        gpa.0.checked_sub(page).filter(|&offset| offset < PAGE_SIZE)
    }

    fn mmio_read(&mut self, gpa: Gpa, size: u8) -> u64 {
        match (self.apic_offset(gpa), &self.shared.irqchip) {
            (Some(offset), Some(irqchip)) => irqchip.apics().read_page(self.id, offset, size),
            _ => self.mmio.read(gpa.0, size),
        }
    }

    fn mmio_write(&mut self, gpa: Gpa, size: u8, value: u64) {
        match (self.apic_offset(gpa), &self.shared.irqchip) {
            (Some(offset), Some(irqchip)) => {
                irqchip.apics().write_page(self.id, offset, size, value);
            }
            _ => self.mmio.write(gpa.0, size, value),
        }
    }

    fn task_priority(&self) -> u64 {
        let irqchip = self.shared.irqchip.as_ref();
        irqchip.map_or(0, |irqchip| {
            u64::from(irqchip.apics().task_priority(self.id))
        })
    }

    fn set_task_priority(&self, value: u8) {
        if let Some(irqchip) = &self.shared.irqchip {
            irqchip.apics().set_task_priority(self.id, value);
        }
    }

    fn read_msr(&mut self, index: u32) -> Result<Result<u64, Fault>, EngineError> {
        Ok(match &self.shared.irqchip {
            Some(irqchip) if is_apic_msr(index) => {
                irqchip.apics().read_msr(self.id, index).map_err(|_| Fault)
            }
            _ => match self.clock_msrs.read(index) {
                Some(value) => Ok(value),
                None => self.msrs.read(index),
            },
        })
    }

    fn write_msr(&mut self, index: u32, value: u64) -> Result<Result<(), Fault>, EngineError> {
        if is_apic_msr(index) {
            if index == msr::TSC_DEADLINE {
                self.refresh_moment()?;
            }
            let irqchip = self.shared.irqchip.as_ref();
            return Ok(irqchip.ok_or(Fault).and_then(|irqchip| {
                let written = irqchip.apics().write_msr(self.id, index, value);
                written.map_err(|_| Fault)
            }));
        }
        if self.write_clock_msr(index, value)? {
            return Ok(Ok(()));
        }
        Ok(self.msrs.write(index, value))
    }

    fn refresh_moment(&mut self) -> Result<(), EngineError> {
        use devices::Clock;
        let now = self.shared.clock.now();
        if self.shared.tsc.age(self.id, now) > OLDEST_MOMENT {
            let moment = self.moment()?;
            self.shared.tsc.note(self.id, moment);
        }
        Ok(())
    }
}

const FAULT: Entry = Entry::Fault(Exception::gp(0));

fn is_apic_msr(index: u32) -> bool {
    matches!(
        index,
        msr::APIC_BASE | msr::TSC_DEADLINE | msr::X2APIC_FIRST..=msr::X2APIC_LAST
    )
}
