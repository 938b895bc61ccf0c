//! Saving and restoring a virtio device.

use serde::{Deserialize, Serialize};

use crate::pci::{ConfigState, MsixState, PciFunction};
use crate::virtio::QueueState;
use crate::virtio::transport::VirtioPci;
use crate::virtio::transport::common::{STATUS_DRIVER_OK, STATUS_FEATURES_OK};
use crate::virtio::worker::HOLD_INACTIVE;
use crate::{DeviceState, RestoreError, decode_state, encode_state};

const VERSION: u16 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct VirtioPciStateV1 {
    config: ConfigState,
    status: u8,
    needs_reset: bool,
    generation: u8,
    device_feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    queue_select: u16,
    queues: Vec<QueueState>,
    msix: MsixState,
    isr: u8,
    config_vector: u16,
    queue_vectors: Vec<u16>,
    device: Vec<u8>,
}

impl VirtioPci {
    /// Waits for the workers' batches; requests not begun stay in their rings.
    pub(super) fn save_state(&self) -> DeviceState {
        let mut queues = self.registers.queues.clone();
        for (queue, &(worker, local)) in queues.iter_mut().zip(&self.served_by) {
            let work = self.workers[worker].work();
            (queue.next_available, queue.next_used) = work.rings[local].progress();
        }
        let device = self.device.save();
        let interrupts = self.interrupts.state();
        let state = VirtioPciStateV1 {
            config: self.config.save(),
            status: self.registers.status,
            needs_reset: self.interrupts.needs_reset(),
            generation: self.interrupts.generation(),
            device_feature_select: self.registers.device_feature_select,
            driver_feature_select: self.registers.driver_feature_select,
            driver_features: self.registers.driver_features,
            queue_select: self.registers.queue_select,
            queues,
            msix: interrupts.msix.save(),
            isr: interrupts.isr,
            config_vector: interrupts.config_vector,
            queue_vectors: interrupts.queue_vectors.clone(),
            device,
        };
        encode_state(self.kind(), VERSION, &state)
    }

    /// Leaves the workers paused: guest memory may not be complete yet.
    pub(super) fn restore_state(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let kind = self.kind();
        let state: VirtioPciStateV1 = decode_state(kind, VERSION, state)?;
        let damaged = |what: String| RestoreError::Damaged {
            kind: kind.into(),
            what,
        };
        self.check(&state).map_err(damaged)?;
        // The fallible parts first, each of which changes nothing when it fails.
        let mut config = self.config.clone();
        config.restore(&state.config).map_err(damaged)?;
        let was_paused = self.paused;
        self.quiesce();
        let restored = self.device.restore(&state.device);
        if let Err(what) = restored {
            if !was_paused {
                self.resume();
            }
            return Err(damaged(what));
        }
        self.config = config;
        self.take_registers(&state);
        self.take_interrupts(&state);
        self.follow_config();
        self.restore_workers();
        Ok(())
    }

    fn check(&self, state: &VirtioPciStateV1) -> Result<(), String> {
        let queues = self.registers.queues.len();
        if state.queues.len() != queues || state.queue_vectors.len() != queues {
            return Err(format!("{} queues, not {queues}", state.queues.len()));
        }
        // Before the driver settles on features it may write any.
        let settled = state.status & STATUS_FEATURES_OK != 0;
        if settled && state.driver_features & !self.offered() != 0 {
            let missing = state.driver_features & !self.offered();
            return Err(format!("features {missing:#x} are not on offer here"));
        }
        let active = STATUS_DRIVER_OK | STATUS_FEATURES_OK;
        if state.status & STATUS_DRIVER_OK != 0 && state.status & active != active {
            return Err(format!("an impossible device status {:#x}", state.status));
        }
        let mut scratch = self.interrupts.state();
        let before = scratch.msix.save();
        scratch.msix.restore(&state.msix)?;
        scratch.msix.restore(&before)
    }

    fn take_registers(&mut self, state: &VirtioPciStateV1) {
        self.registers.status = state.status;
        self.registers.device_feature_select = state.device_feature_select;
        self.registers.driver_feature_select = state.driver_feature_select;
        self.registers.driver_features = state.driver_features;
        self.registers.queue_select = state.queue_select;
        self.registers.queues.clone_from(&state.queues);
    }

    fn take_interrupts(&self, state: &VirtioPciStateV1) {
        self.interrupts.set_needs_reset(state.needs_reset);
        self.interrupts.set_generation(state.generation);
        let mut interrupts = self.interrupts.state();
        interrupts.isr = state.isr;
        interrupts.config_vector = state.config_vector;
        interrupts.queue_vectors.clone_from(&state.queue_vectors);
        // Checked before: the number of vectors agrees.
        let _ = interrupts.msix.restore(&state.msix);
    }

    /// Gives the workers their queues, and lets them begin once the machine resumes.
    fn restore_workers(&mut self) {
        let event_idx = self.registers.event_idx();
        let queues = self.registers.queues.iter_mut().zip(&self.served_by);
        for (queue, &(worker, local)) in queues {
            let mut work = self.workers[worker].work();
            let ring = &mut work.rings[local];
            ring.disable();
            if queue.enabled && ring.enable(queue, event_idx).is_err() {
                // A ring outside this machine's RAM: the state was made by hand. Law 5.
                queue.enabled = false;
                self.interrupts.set_needs_reset(true);
            }
        }
        for worker in &self.workers {
            worker.hold(HOLD_INACTIVE);
        }
        if self.registers.status & STATUS_DRIVER_OK != 0 && !self.interrupts.needs_reset() {
            self.activate();
        }
    }
}
