//! Virtio console: one console for a terminal and named ports for programs, each a stream of bytes
//! in both directions.
//!
//! Back-pressure, both ways. Input that the guest has no buffers for waits in a bounded queue;
//! [`ConsoleHandle::receive`] says how much was taken. Output goes to a writer on a thread of its own
//! behind a bounded queue, since a terminal that is stopped must stop the guest's writer and not the
//! device: no worker ever blocks on the host.
//! Spec: VIRTIO 1.2, "Console Device", "Multiport Device Operation". The size in a resize message is
//! columns, then rows, as written there; Linux before 2025 read it the other way round.

mod backend;
mod handle;
mod output;
mod port;

use std::sync::Arc;

use crate::virtio::{Doorbell, VirtioDevice, WorkerPlan};

pub use handle::{ConsoleHandle, PortEvents, RoomNotice};
pub use port::Port;

use backend::ConsoleBackend;
use handle::Shared;

const ID: u16 = 3;
/// Communication controller, other.
const CLASS: u32 = 0x07_80_00;
const F_SIZE: u64 = 1 << 0;
const F_MULTIPORT: u64 = 1 << 1;
const QUEUE_SIZE: u16 = 128;
/// Most ports: as many as the queues of a PCI function here allow.
pub const MAX_PORTS: usize = 31;

/// The device. Port 0 is the terminal's.
#[derive(Debug)]
pub struct Console {
    shared: Arc<Shared>,
    waker: Option<Arc<Doorbell>>,
}

impl Console {
    /// Ports in order, at most [`MAX_PORTS`]; the first is the console, whatever its name.
    #[must_use]
    pub fn new(mut ports: Vec<Port>) -> Console {
        ports.truncate(MAX_PORTS);
        if ports.is_empty() {
            ports.push(Port::console(Box::new(std::io::sink())));
        }
        let waker = Doorbell::new().ok().map(Arc::new);
        Console {
            shared: Arc::new(Shared::new(ports, waker.clone())),
            waker,
        }
    }

    /// The host's end, to keep after the device has gone to the bus.
    #[must_use]
    pub fn handle(&self) -> ConsoleHandle {
        ConsoleHandle::new(Arc::clone(&self.shared))
    }
}

impl VirtioDevice for Console {
    fn kind(&self) -> &'static str {
        "virtio-console"
    }

    fn id(&self) -> u16 {
        ID
    }

    fn class(&self) -> u32 {
        CLASS
    }

    fn features(&self) -> u64 {
        F_SIZE | F_MULTIPORT
    }

    /// A pair for port 0, the control pair, a pair for each further port.
    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; 2 * self.shared.port_count() + 2]
    }

    fn workers(&mut self) -> Vec<WorkerPlan> {
        // Without descriptors left there is no worker, and VirtioPci::new says so.
        let plan = self.waker.clone().map(|waker| WorkerPlan {
            queues: 2 * self.shared.port_count() + 2,
            backend: Box::new(ConsoleBackend::new(Arc::clone(&self.shared))),
            waker,
            events: None,
        });
        plan.into_iter().collect()
    }

    /// `struct virtio_console_config`.
    fn config(&self) -> Vec<u8> {
        let (columns, rows) = self.shared.size();
        let ports = u32::try_from(self.shared.port_count()).unwrap_or(u32::MAX);
        let mut config = Vec::with_capacity(12);
        config.extend_from_slice(&columns.to_le_bytes());
        config.extend_from_slice(&rows.to_le_bytes());
        config.extend_from_slice(&ports.to_le_bytes());
        config.extend_from_slice(&0u32.to_le_bytes()); // emergency write: not on offer
        config
    }

    fn reset(&mut self) {
        self.shared.driver_reset();
    }

    /// Input that the guest has not taken, and how far the control protocol has come. Output that the
    /// guest has handed over is the host's and not saved.
    fn save(&self) -> Vec<u8> {
        self.shared.save()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.shared.restore(bytes)
    }
}

#[cfg(test)]
mod tests;
