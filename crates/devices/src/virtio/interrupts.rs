//! How a device interrupts its driver: MSI-X where the driver enabled it, else the INTx line and the
//! ISR status register. Shared by the registers and the workers.
//! Spec: "ISR status capability", "Notification of Device Configuration Changes".

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::pci::Msix;
use crate::{Line, MsiSink};

/// "No vector", in a vector register.
pub(super) const NO_VECTOR: u16 = 0xffff;
const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

#[derive(Debug)]
pub(super) struct State {
    pub(super) msix: Msix,
    pub(super) isr: u8,
    pub(super) config_vector: u16,
    pub(super) queue_vectors: Vec<u16>,
    /// The command register's bit that masks INTx.
    intx_disabled: bool,
}

#[derive(Debug)]
pub(super) struct Interrupts {
    state: Mutex<State>,
    line: Arc<dyn Line>,
    needs_reset: AtomicBool,
    generation: AtomicU8,
}

impl Interrupts {
    pub(super) fn new(queues: u16, sink: Arc<dyn MsiSink>, line: Arc<dyn Line>) -> Interrupts {
        Interrupts {
            state: Mutex::new(State {
                // One vector a queue and one for the configuration.
                msix: Msix::new(queues + 1, sink),
                isr: 0,
                config_vector: NO_VECTOR,
                queue_vectors: vec![NO_VECTOR; usize::from(queues)],
                intx_disabled: false,
            }),
            line,
            needs_reset: AtomicBool::new(false),
            generation: AtomicU8::new(0),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver shall look at queue `index` of the device.
    pub(super) fn queue(&self, index: u16) {
        let mut state = self.state();
        if state.msix.enabled() {
            let vector = state.queue_vectors.get(usize::from(index)).copied();
            state.msix.fire(vector.unwrap_or(NO_VECTOR));
        } else {
            state.isr |= ISR_QUEUE;
            self.drive_line(&state);
        }
    }

    /// The driver shall read the device's configuration again.
    pub(super) fn config_changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        let mut state = self.state();
        if state.msix.enabled() {
            let vector = state.config_vector;
            state.msix.fire(vector);
        } else {
            state.isr |= ISR_CONFIG;
            self.drive_line(&state);
        }
    }

    /// The device gives up until it is reset.
    pub(super) fn ask_for_reset(&self) {
        self.needs_reset.store(true, Ordering::Release);
        self.config_changed();
    }

    pub(super) fn needs_reset(&self) -> bool {
        self.needs_reset.load(Ordering::Acquire)
    }

    pub(super) fn set_needs_reset(&self, needed: bool) {
        self.needs_reset.store(needed, Ordering::Release);
    }

    pub(super) fn generation(&self) -> u8 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn set_generation(&self, generation: u8) {
        self.generation.store(generation, Ordering::Release);
    }

    /// Reading the ISR status acknowledges it.
    pub(super) fn take_isr(&self) -> u8 {
        let mut state = self.state();
        let isr = std::mem::take(&mut state.isr);
        self.drive_line(&state);
        isr
    }

    /// Is the INTx line wanted, masked or not?
    pub(super) fn intx_pending(&self) -> bool {
        let state = self.state();
        state.isr != 0 && !state.msix.enabled()
    }

    /// Takes over what the configuration space says of interrupts.
    pub(super) fn configure(&self, msix_control: u16, intx_disabled: bool) {
        let mut state = self.state();
        state.msix.set_control(msix_control);
        state.intx_disabled = intx_disabled;
        self.drive_line(&state);
    }

    /// The driver reset the device: no vectors, nothing pending.
    pub(super) fn reset(&self) {
        self.needs_reset.store(false, Ordering::Release);
        let mut state = self.state();
        state.msix.clear_pending();
        state.isr = 0;
        state.config_vector = NO_VECTOR;
        state.queue_vectors.fill(NO_VECTOR);
        self.drive_line(&state);
    }

    /// Under the state's lock, so that the line never shows an older state.
    fn drive_line(&self, state: &State) {
        self.line
            .set(state.isr != 0 && !state.msix.enabled() && !state.intx_disabled);
    }
}
