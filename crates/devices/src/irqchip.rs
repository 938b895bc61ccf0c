//! The board's interrupt controllers: a pair of 8259A, an I/O APIC, a local APIC for each vCPU, and
//! the wires between them.
//!
//! Lock order: device, then wire, then PIC or I/O APIC, then local APIC, then whatever
//! [`VcpuEvents`] and [`Timer`](crate::Timer) take. Nothing calls back up; a local APIC's EOI
//! reaches the I/O APIC after its own lock is gone.
//!
//! Restore devices first, then PIC and I/O APIC, then the local APICs: a device that raises its
//! line again in its own restore is then overruled by what the controllers had made of it.

pub mod apics;
pub mod ioapic;
mod lapic;
mod lines;
pub mod message;
pub mod pic;
#[doc(hidden)]
pub mod testing;

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

pub use apics::{LintLine, LocalApics};
pub use ioapic::IoApic;
pub use lapic::{LapicParts, TIMER_HZ};
pub use lines::IrqLine;
pub use message::{DeliveryMode, Destination, Message};
pub use pic::Pic;

use self::lines::Wire;
use crate::ports::locked;
use crate::{Line, MsiSink};

/// The access raises #GP(0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneralProtection;

/// What local APICs ask of their vCPUs; `cpu` is the vCPU's number. Called with the APIC's lock
/// held: set a flag, kick, return. Never call into the interrupt controllers from here.
pub trait VcpuEvents: Send + Sync + Debug {
    /// `has_interrupt` has become true: wake the vCPU from HLT, or have it look.
    fn interrupt_pending(&self, cpu: u32);
    fn nmi(&self, cpu: u32);
    fn smi(&self, cpu: u32);
    /// INIT: the APIC has been reset already; reset the vCPU and, unless it is the bootstrap
    /// processor, let it wait for a start-up message.
    fn init(&self, cpu: u32);
    /// Start-up: begin at `vector` << 12, if the vCPU waits for it.
    fn startup(&self, cpu: u32, vector: u8);
}

/// The relation between the guest's TSC and the machine's clock.
pub trait Tsc: Send + Sync + Debug {
    /// The time of [`Clock::now`](crate::Clock::now), rounded up, when vCPU `cpu`'s TSC reaches
    /// `value`; a time in the past if it has already, `u64::MAX` if it never will.
    fn when(&self, cpu: u32, value: u64) -> u64;
}

/// All controllers, wired as on a PC.
#[derive(Debug)]
pub struct Irqchip {
    pic: Arc<Mutex<Pic>>,
    ioapic: Arc<Mutex<IoApic>>,
    apics: Arc<LocalApics>,
    wires: Vec<Arc<Wire>>,
}

impl Irqchip {
    /// `parts` has one element for each vCPU.
    #[must_use]
    pub fn new(parts: Vec<LapicParts>) -> Irqchip {
        let apics = Arc::new(LocalApics::new(parts));
        let intr = Arc::new(LintLine::intr(Arc::clone(&apics)));
        let pic = Arc::new(Mutex::new(Pic::new(intr)));
        let sink: Arc<dyn MsiSink> = Arc::clone(&apics) as _;
        let ioapic = Arc::new(Mutex::new(IoApic::new(sink)));
        apics.connect(&ioapic);
        let wire = |irq| Arc::new(Wire::new(irq, Arc::clone(&pic), Arc::clone(&ioapic)));
        let wires = (0..24).map(wire).collect();
        Irqchip {
            pic,
            ioapic,
            apics,
            wires,
        }
    }

    /// The PIC, to be attached at [`pic::PORTS`].
    #[must_use]
    pub fn pic(&self) -> Arc<Mutex<Pic>> {
        Arc::clone(&self.pic)
    }

    /// The I/O APIC, to be attached at [`ioapic::ADDRESS`].
    #[must_use]
    pub fn ioapic(&self) -> Arc<Mutex<IoApic>> {
        Arc::clone(&self.ioapic)
    }

    #[must_use]
    pub fn apics(&self) -> &Arc<LocalApics> {
        &self.apics
    }

    /// Where devices send their message-signalled interrupts.
    #[must_use]
    pub fn msi(&self) -> Arc<dyn MsiSink> {
        Arc::clone(&self.apics) as _
    }

    /// A new end of interrupt wire `irq`, 0 to 23, for one device. ISA interrupts are 0 to 15; a
    /// wire that does not exist is a line that goes nowhere.
    #[must_use]
    pub fn line(&self, irq: u8) -> Arc<dyn Line> {
        match self.wires.get(usize::from(irq)) {
            Some(wire) => Arc::new(IrqLine::new(Arc::clone(wire))),
            None => Arc::new(Unconnected),
        }
    }

    /// The board's NMI line.
    #[must_use]
    pub fn nmi_line(&self) -> Arc<dyn Line> {
        Arc::new(LintLine::nmi(Arc::clone(&self.apics)))
    }

    /// Is there an interrupt for vCPU `cpu`? Takes no lock.
    #[must_use]
    pub fn has_interrupt(&self, cpu: u32) -> bool {
        self.apics.has_interrupt(cpu)
    }

    /// The vector that vCPU `cpu` is to run now, if there still is one. The PIC goes first: its
    /// interrupts have no priority among the APIC's.
    #[must_use]
    pub fn acknowledge(&self, cpu: u32) -> Option<u8> {
        if !self.apics.takes_external(cpu) {
            return self.apics.acknowledge(cpu);
        }
        let vector = locked(&self.pic).acknowledge();
        self.apics.external_taken(cpu);
        Some(vector)
    }
}

/// A line that ends nowhere.
#[derive(Debug)]
struct Unconnected;

impl Line for Unconnected {
    fn set(&self, _high: bool) {}
}

#[cfg(test)]
mod tests;
