//! Virtio 1.2 over PCI, modern devices only.
//!
//! A device has two halves. What the guest's processors touch (registers, configuration) lives in
//! [`VirtioPci`], under the lock of its PCI function. What touches queues and host files is a
//! [`Backend`] on a worker thread, so that a notify returns at once: it only rings a [`Doorbell`],
//! an eventfd, which KVM could as well ring by itself. The halves share the queues behind one lock
//! per worker, held while a batch of requests is served. Taking that lock is how to wait until no
//! request is in flight: a reset does it, and so do [`PciFunction::quiesce`] and save. What a worker
//! may not do now is a set of hold bits (driver not ready, paused, no bus mastering, broken).
//!
//! Whatever a driver gets wrong in a way that the specification does not answer puts the device into
//! DEVICE_NEEDS_RESET: it stays silent until it is reset.
//!
//! Rejected: requests served by the vCPU that notifies (a slow disk would stop the processor), and
//! one event loop for all devices (a blocking file read would stop the others).
//! Spec: Virtual I/O Device (VIRTIO) Version 1.2.
//!
//! How a machine makes one; see [`crate::pci`] for the bus:
//! ```ignore
//! let disk = VirtioPci::new(Block::new(block::open(&options)?, BlockOptions::default()), memory.clone(), sink.clone(), wire)?;
//! let console = Console::new(vec![Port::console(output), Port::named("org.innkeeper.agent", output)]);
//! let handle = console.handle();          // receive, resize, drain, port events; Clone + Send
//! let console = VirtioPci::new(console, memory.clone(), sink.clone(), wire)?;
//! let rng = VirtioPci::new(Rng::new(RngLimit::default()), memory.clone(), sink.clone(), wire)?;
//! ```
//!
//! [`PciFunction::quiesce`]: crate::pci::PciFunction::quiesce

pub mod balloon;
pub mod block;
mod chain;
pub mod console;
mod device;
mod doorbell;
pub mod fs;
pub mod gpu;
pub mod hotplug_memory;
mod input;
mod interrupts;
pub mod keyboard;
pub mod net;
mod rate;
mod ring;
pub mod rng;
mod sound;
pub mod tablet;
mod transport;
pub mod vsock;
mod worker;

#[cfg(test)]
pub(crate) mod testing;

pub use balloon::{Balloon, BalloonHandle, BalloonReport, MemoryStatistics};
pub use block::{Block, BlockOptions, NoRoom};
pub use chain::{Chain, Nonsense};
pub use console::{Console, ConsoleHandle, Port};
pub use device::{Backend, Next, VirtioDevice, WorkerPlan};
pub use doorbell::Doorbell;
pub use fs::Fs;
pub use gpu::{Cursor, Gpu, GpuHandle};
pub use hotplug_memory::{HotplugMemory, HotplugMemoryHandle, HotplugMemoryReport};
pub use keyboard::{Keyboard, KeyboardHandle};
pub use net::{KernelPath, Net, NetHandle, NetOptions, Onlookers};
pub use rate::{RateGate, RateLimit};
pub use ring::{QueueState, Ring};
pub use rng::{Rng, RngLimit};
pub use sound::Sound;
pub use tablet::{Tablet, TabletEvent, TabletHandle};
pub use transport::{VirtioPci, VirtioPciError};
pub use vsock::{Vsock, VsockHandle, VsockOptions};

/// Feature bits of every device. Spec: "Reserved Feature Bits".
pub(crate) const F_INDIRECT_DESC: u64 = 1 << 28;
pub(crate) const F_EVENT_IDX: u64 = 1 << 29;
pub(crate) const F_VERSION_1: u64 = 1 << 32;
