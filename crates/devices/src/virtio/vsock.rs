//! Virtio socket device: connections between programs in the guest and programs on the host.
//! Spec: VIRTIO 1.2, "Socket Device"; the host's side is Firecracker's, docs/vsock.md.
//!
//! On the host a connection is one of a Unix socket, as in Firecracker, so that nothing there has to know
//! vsock. Who connects to the device's socket says `CONNECT 80\n`, hears `OK 1073741824\n` once a
//! program in the guest has accepted at its port 80, and speaks with that from then on. What the guest
//! connects to port 80 of the host becomes a connection to the socket `PATH_80`.
//!
//! [`Exchange`] is all of that without the queues: packets of the guest in, packets for the guest out.
//! Nothing a guest sends makes it hold more than a window for each of a bounded number of connections.
//! What is on its way to the guest stays in the host's sockets until the guest has both credit and a
//! buffer for it; what the host does not take fills the connection's window, and the guest has to stop.
//!
//! A guest's process may be locked in and then cannot connect to anything by name: whom the guest calls
//! is therefore asked of somebody else ([`outward`]), who hands over a descriptor.
//!
//! Connections do not survive a save. A restored guest is told by the event of the specification, and
//! its connections are reset.
//!
//! Rejected: vhost-vsock, which needs privilege and gives each guest a number on the whole host.

mod backend;
mod connection;
mod exchange;
mod greeting;
pub mod outward;
pub mod packet;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::virtio::{Doorbell, VirtioDevice, WorkerPlan};

use backend::VsockBackend;
pub use exchange::{Exchange, MOST_CONNECTIONS, MOST_FROM_GUEST, Outgoing};

const ID: u16 = 19;
/// Communication controller, other.
const CLASS: u32 = 0x07_80_00;
const QUEUE_SIZE: u16 = 256;
const EVENT_QUEUE_SIZE: u16 = 16;
/// `VIRTIO_VSOCK_F_STREAM`.
const F_STREAM: u64 = 1 << 0;
/// Connections from this process that the device has not looked at.
const MOST_INCOMING: usize = 64;

/// What the device is made of.
#[derive(Debug)]
pub struct VsockOptions {
    /// The guest's address: 3 and above.
    pub cid: u32,
    /// Listens where the host's programs connect.
    pub listener: Option<OwnedFd>,
    /// Where connections are asked for that the guest makes; see [`outward`].
    pub outward: Option<OwnedFd>,
}

/// What the halves of the device and the host's hand on it share.
#[derive(Debug, Default)]
struct Shared(Mutex<News>);

#[derive(Debug, Default)]
struct News {
    /// The guest was restored: its connections are gone, and it has to hear of that.
    restored: bool,
    /// Connections to a port of the guest from this process.
    incoming: Vec<(OwnedFd, u32)>,
}

impl Shared {
    fn news(&self) -> MutexGuard<'_, News> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub struct Vsock {
    cid: u32,
    shared: Arc<Shared>,
    exchange: Option<Exchange>,
    waker: Arc<Doorbell>,
}

#[derive(Debug, Serialize, Deserialize)]
struct VsockStateV1 {
    cid: u32,
}

impl Vsock {
    /// # Errors
    /// When the host has no more descriptors.
    pub fn new(options: VsockOptions) -> std::io::Result<Vsock> {
        Ok(Vsock {
            cid: options.cid,
            shared: Arc::default(),
            exchange: Some(Exchange::new(options)?),
            waker: Arc::new(Doorbell::new()?),
        })
    }

    /// The host's hand on the device.
    #[must_use]
    pub fn handle(&self) -> VsockHandle {
        VsockHandle {
            shared: Arc::clone(&self.shared),
            waker: Arc::clone(&self.waker),
        }
    }
}

impl VirtioDevice for Vsock {
    fn kind(&self) -> &'static str {
        "virtio-vsock"
    }

    fn id(&self) -> u16 {
        ID
    }

    fn class(&self) -> u32 {
        CLASS
    }

    fn features(&self) -> u64 {
        F_STREAM
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE, QUEUE_SIZE, EVENT_QUEUE_SIZE]
    }

    fn workers(&mut self) -> Vec<WorkerPlan> {
        let exchange = self.exchange.take();
        let plan = exchange.map(|exchange| WorkerPlan {
            queues: 3,
            events: exchange.events(),
            backend: Box::new(VsockBackend::new(exchange, Arc::clone(&self.shared))),
            waker: Arc::clone(&self.waker),
        });
        plan.into_iter().collect()
    }

    /// `struct virtio_vsock_config`.
    fn config(&self) -> Vec<u8> {
        u64::from(self.cid).to_le_bytes().to_vec()
    }

    fn reset(&mut self) {
        self.shared.news().incoming.clear();
    }

    fn save(&self) -> Vec<u8> {
        let saved = VsockStateV1 { cid: self.cid };
        // Plain values always serialise; an empty body is refused on restore.
        postcard::to_stdvec(&saved).unwrap_or_default()
    }

    /// The address is the new device's own: the guest reads it again when it hears of its restore.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let _: VsockStateV1 = postcard::from_bytes(bytes).map_err(|error| error.to_string())?;
        self.shared.news().restored = true;
        Ok(())
    }
}

/// The host's hand on a device. Any thread may use it, also after the device is gone.
#[derive(Debug, Clone)]
pub struct VsockHandle {
    shared: Arc<Shared>,
    waker: Arc<Doorbell>,
}

impl VsockHandle {
    /// Connects `stream`, a Unix socket, to `port` of the guest, as who says CONNECT is; without the
    /// words. It is closed when the guest refuses. `false` when too many wait already.
    #[must_use]
    pub fn connect(&self, stream: OwnedFd, port: u32) -> bool {
        let mut news = self.shared.news();
        if news.incoming.len() >= MOST_INCOMING {
            return false;
        }
        news.incoming.push((stream, port));
        drop(news);
        self.waker.ring();
        true
    }
}

#[cfg(test)]
mod tests;
