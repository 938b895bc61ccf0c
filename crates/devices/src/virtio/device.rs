//! What every virtio device is: its face to the guest's registers, and its work on the queues.

use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use threads::Work;

use crate::vga;
use crate::virtio::{Doorbell, Nonsense, Ring};

/// The half of a device under the lock of its PCI function.
pub trait VirtioDevice: Send + Debug {
    /// The name in saved states, as [`crate::Device::kind`].
    fn kind(&self) -> &'static str;
    /// The device type. Spec: "Device Types".
    fn id(&self) -> u16;
    /// PCI base class, sub-class and interface.
    fn class(&self) -> u32;
    /// Device-specific feature bits on offer.
    fn features(&self) -> u64;
    /// The largest size of each queue, powers of two.
    fn queue_sizes(&self) -> Vec<u16>;
    /// A VGA in the same function, where there is one: regions 0 and 2 are its, and virtio's is another.
    fn beside(&self) -> Option<&vga::Face> {
        None
    }
    /// Who serves the queues, in queue order; every queue has one worker. Called once.
    fn workers(&mut self) -> Vec<WorkerPlan>;
    /// The device-specific configuration structure as the guest reads it now.
    fn config(&self) -> Vec<u8>;
    fn config_write(&mut self, offset: u64, data: &[u8]) {
        let _ = (offset, data);
    }
    /// The driver reset the device. The workers are at rest.
    fn reset(&mut self) {}
    /// The machine begins anew, which resets the driver too. The workers are at rest.
    fn power_on(&mut self) {}
    /// What the device itself has to save, in a form of its own. The workers are at rest.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }
    /// # Errors
    /// With a reason, when the bytes are not such a state. Nothing is changed then.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        if bytes.is_empty() {
            Ok(())
        } else {
            Err("unexpected device state".into())
        }
    }
}

/// One worker thread.
#[derive(Debug)]
pub struct WorkerPlan {
    /// How many queues it serves.
    pub queues: usize,
    pub backend: Box<dyn Backend>,
    /// Rung by the host to have the worker look at all its queues.
    pub waker: Arc<Doorbell>,
    /// Readable likewise, for as long as there is something to do, while the backend listens.
    pub events: Option<OwnedFd>,
}

/// What a worker shall do after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Wait for a notification.
    Wait,
    /// Come back at once: there is more in the queue.
    Again,
    /// Come back after this long, or with a notification.
    After(Duration),
}

impl Next {
    /// What suits both.
    #[must_use]
    pub fn sooner(self, other: Next) -> Next {
        match (self, other) {
            (Next::Again, _) | (_, Next::Again) => Next::Again,
            (Next::After(a), Next::After(b)) => Next::After(a.min(b)),
            (Next::After(delay), Next::Wait) | (Next::Wait, Next::After(delay)) => {
                Next::After(delay)
            }
            (Next::Wait, Next::Wait) => Next::Wait,
        }
    }
}

/// The half of a device on a worker thread. It never takes the lock of its PCI function.
pub trait Backend: Send + Debug {
    /// What its thread works at.
    fn work(&self) -> Work {
        Work::Device
    }

    /// The driver is ready and has accepted these features; or a restored device goes on.
    fn start(&mut self, features: u64) {
        let _ = features;
    }

    /// Serves queue `queue` for a while. `rings` are this worker's; disabled ones are empty.
    ///
    /// # Errors
    /// When the driver has broken the protocol: the device then needs a reset.
    fn serve(&mut self, queue: usize, rings: &mut [Ring]) -> Result<Next, Nonsense>;

    /// Serves what takes no time, on the thread of the vCPU that has just notified queue `queue`:
    /// waking the worker costs more than some requests take. [`Next::Wait`] when nothing is left;
    /// anything else leaves the rest to [`Backend::serve`]. Must not wait for anything.
    ///
    /// # Errors
    /// As [`Backend::serve`].
    fn serve_now(&mut self, queue: usize, rings: &mut [Ring]) -> Result<Next, Nonsense> {
        let _ = (queue, rings);
        Ok(Next::Again)
    }

    /// Shall [`WorkerPlan::events`] wake the worker? Not where the next step is the driver's.
    fn listens(&self) -> bool {
        true
    }

    /// How many of the worker's first queues somebody else serves now, who hears their bells instead. Asked after
    /// each turn.
    fn given_away(&self) -> usize {
        0
    }

    /// The worker is held: takes back what was given away. The rings are then as if the worker had served them.
    ///
    /// # Errors
    /// When they cannot be had back: the device then needs a reset.
    fn rest(&mut self, rings: &mut [Ring]) -> Result<(), Nonsense> {
        let _ = rings;
        Ok(())
    }

    /// The driver reset the device.
    fn reset(&mut self) {}
}
