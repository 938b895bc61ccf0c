//! How the rest of the machine reaches one vCPU: interrupts that wait, NMI, INIT, start-up.
//!
//! A vCPU thread is in the guest, asleep here, or on its way between the two. A sender publishes
//! what it has, then wakes: the sleeper by the condition variable, the guest by a kick. The thread
//! says that it is about to enter the guest before it looks a last time for anything published, so
//! one of the two always sees the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use devices::irqchip::VcpuEvents;
use engine::Kick;

use crate::sync::{lock, wait};

/// What waits for a vCPU besides interrupts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pending {
    /// At most two: one that runs and one that waits for its end. A processor takes the first at
    /// once, so two that came together are not one.
    pub(crate) nmis: u8,
    pub(crate) init: bool,
    /// The vector of a start-up message.
    pub(crate) startup: Option<u8>,
}

/// One vCPU's letter box.
#[derive(Debug, Default)]
pub(crate) struct VcpuSignal {
    pending: Mutex<Pending>,
    woken: Condvar,
    any: AtomicBool,
    in_guest: AtomicBool,
    kick: OnceLock<Arc<dyn Kick>>,
    /// The processor is not there: it does nothing, and hears nothing.
    absent: AtomicBool,
}

impl VcpuSignal {
    pub(crate) fn connect(&self, kick: Arc<dyn Kick>) {
        // Once per vCPU.
        let _ = self.kick.set(kick);
    }

    /// Makes the vCPU look around. Whatever it is to find has been published.
    pub(crate) fn wake(&self) {
        {
            let _pending = lock(&self.pending);
            self.woken.notify_all();
        }
        if self.in_guest.load(Ordering::SeqCst) {
            self.kick();
        }
    }

    pub(crate) fn is_absent(&self) -> bool {
        self.absent.load(Ordering::SeqCst)
    }

    /// Stops the guest, whether it is running or just about to.
    pub(crate) fn kick(&self) {
        if let Some(kick) = self.kick.get() {
            kick.kick();
        }
    }

    fn post(&self, change: impl FnOnce(&mut Pending)) {
        {
            let mut pending = lock(&self.pending);
            change(&mut pending);
            self.any.store(true, Ordering::SeqCst);
        }
        self.wake();
    }

    /// Is something other than an interrupt there?
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::SeqCst)
    }

    pub(crate) fn take(&self) -> Pending {
        if !self.any() {
            return Pending::default();
        }
        let mut pending = lock(&self.pending);
        self.any.store(false, Ordering::SeqCst);
        std::mem::take(&mut pending)
    }

    /// Sleeps until `ready` or something is posted. `ready` is asked again at every wake.
    pub(crate) fn wait_until(&self, ready: impl Fn() -> bool) {
        let mut pending = lock(&self.pending);
        while *pending == Pending::default() && !ready() {
            pending = wait(&self.woken, pending);
        }
    }

    /// The vCPU is about to enter the guest: from here on senders kick. Look around once more.
    pub(crate) fn enter(&self) {
        self.in_guest.store(true, Ordering::SeqCst);
    }

    pub(crate) fn leave(&self) {
        self.in_guest.store(false, Ordering::SeqCst);
    }
}

/// Whether a processor is there.
#[derive(Debug)]
pub(crate) struct Presence(pub(crate) Arc<VcpuSignal>);

impl Presence {
    /// Answers whether that is news.
    pub(crate) fn set(&self, present: bool) -> bool {
        let absent = self.0.absent.swap(!present, Ordering::SeqCst);
        if absent == present {
            self.0.wake();
        }
        absent == present
    }
}

/// All vCPUs' letter boxes, as the local APICs know them.
#[derive(Debug)]
pub(crate) struct Signals(pub(crate) Vec<Arc<VcpuSignal>>);

impl Signals {
    fn post(&self, cpu: u32, change: impl FnOnce(&mut Pending)) {
        if let Some(signal) = self.0.get(cpu as usize) {
            signal.post(change);
        }
    }
}

impl VcpuEvents for Signals {
    fn interrupt_pending(&self, cpu: u32) {
        if let Some(signal) = self.0.get(cpu as usize) {
            signal.wake();
        }
    }

    fn nmi(&self, cpu: u32) {
        self.post(cpu, |pending| pending.nmis = 2.min(pending.nmis + 1));
    }

    fn smi(&self, cpu: u32) {
        // There is no system management mode without firmware that fills SMRAM.
        let _ = cpu;
    }

    fn init(&self, cpu: u32) {
        self.post(cpu, |pending| {
            // A start-up message before the INIT was for the state that ends now.
            *pending = Pending {
                init: true,
                ..Pending::default()
            };
        });
    }

    fn startup(&self, cpu: u32, vector: u8) {
        self.post(cpu, |pending| pending.startup = Some(vector));
    }
}
