//! Virtio network device: an Ethernet card with offloads, over any [`netio::Link`].
//! Spec: VIRTIO 1.2, "Network Device".
//!
//! The queues are those of receive and transmit in turn, one pair after the other, then control.
//! With one link, one worker serves them all: the links of user-mode networks have one thread's
//! state. With a link a pair (a tap of several queues), each pair has a worker. Frames to the guest
//! are pulled from the link when the guest has buffers ([`receive`]); none wait in the device. Where nobody here
//! has to see them, the host's kernel moves frames instead ([`kernel_path`]).

mod backend;
mod control;
mod filter;
mod kernel_memory_raw;
mod kernel_path;
mod receive;
mod shared;
mod steering;
mod transmit;

use std::sync::Arc;

use netio::{Link, Offloads};

use crate::virtio::{Doorbell, RateGate, VirtioDevice, WorkerPlan};

use backend::NetBackend;
pub use kernel_path::{KernelPath, Onlookers};
pub use shared::NetHandle;
use shared::Shared;

const ID: u16 = 1;
/// Network controller, Ethernet.
const CLASS: u32 = 0x02_00_00;
const QUEUE_SIZE: u16 = 256;
const CONTROL_QUEUE_SIZE: u16 = 64;
/// Of queues.
pub const MAX_PAIRS: u16 = 16;

const F_CSUM: u64 = 1 << 0;
const F_GUEST_CSUM: u64 = 1 << 1;
const F_CTRL_GUEST_OFFLOADS: u64 = 1 << 2;
const F_MTU: u64 = 1 << 3;
const F_MAC: u64 = 1 << 5;
const F_GUEST_TSO4: u64 = 1 << 7;
const F_GUEST_TSO6: u64 = 1 << 8;
const F_GUEST_ECN: u64 = 1 << 9;
const F_HOST_TSO4: u64 = 1 << 11;
const F_HOST_TSO6: u64 = 1 << 12;
const F_HOST_ECN: u64 = 1 << 13;
const F_MRG_RXBUF: u64 = 1 << 15;
const F_STATUS: u64 = 1 << 16;
const F_CTRL_VQ: u64 = 1 << 17;
const F_CTRL_RX: u64 = 1 << 18;
const F_CTRL_VLAN: u64 = 1 << 19;
const F_CTRL_RX_EXTRA: u64 = 1 << 20;
const F_GUEST_ANNOUNCE: u64 = 1 << 21;
const F_MQ: u64 = 1 << 22;
const F_CTRL_MAC_ADDR: u64 = 1 << 23;

/// `struct virtio_net_hdr`: the offloads and a count of buffers.
const HEADER_LEN: usize = netio::OffloadHeader::LEN + 2;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// How the guest sees the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetOptions {
    pub mac: Mac,
    /// Pairs of queues, best one a vCPU: 1 to 16.
    pub pairs: u16,
}

#[derive(Debug)]
pub struct Net {
    shared: Arc<Shared>,
    links: Vec<Box<dyn Link>>,
    offloads: Offloads,
    mtu: Option<u16>,
    /// For each link, in its place, where there are any.
    kernel: Vec<KernelPath>,
    wakers: Vec<Arc<Doorbell>>,
    gates: Gates,
}

/// What passes the card, in each direction.
#[derive(Debug, Default, Clone)]
pub struct Gates {
    pub from_guest: RateGate,
    pub to_guest: RateGate,
}

impl Net {
    /// `links` is one for all pairs of queues, or one for each.
    #[must_use]
    pub fn new(links: Vec<Box<dyn Link>>, options: &NetOptions) -> Net {
        let pairs = match links.len() {
            0 | 1 => options.pairs.clamp(1, MAX_PAIRS),
            several => u16::try_from(several).map_or(MAX_PAIRS, |several| several.min(MAX_PAIRS)),
        };
        let wakers: Vec<Arc<Doorbell>> = links
            .iter()
            .map_while(|_| Doorbell::new().ok().map(Arc::new))
            .collect();
        Net {
            offloads: links.first().map_or(Offloads::NONE, |link| link.offloads()),
            mtu: links.first().and_then(|link| link.mtu()),
            shared: Arc::new(Shared::new(options.mac, pairs, wakers.clone())),
            links,
            kernel: Vec::new(),
            wakers,
            gates: Gates::default(),
        }
    }

    /// Lets no more pass than `gates` do.
    #[must_use]
    pub fn through(mut self, gates: Gates) -> Net {
        self.gates = gates;
        self
    }

    /// The kernel moves frames where it can, by one of these for each link.
    #[must_use]
    pub fn by_kernel(mut self, kernel: Vec<KernelPath>) -> Net {
        self.kernel = kernel;
        self
    }

    /// The host's hand on the card: its cable.
    #[must_use]
    pub fn handle(&self) -> NetHandle {
        NetHandle::new(Arc::clone(&self.shared))
    }

    fn plan(
        &self,
        (link, kernel): (Box<dyn Link>, Option<KernelPath>),
        first: usize,
        queues: usize,
    ) -> Option<WorkerPlan> {
        let events = match &kernel {
            Some(kernel) => Some(kernel.events()),
            None => link.events(),
        };
        let events = events.and_then(|fd| fd.try_clone_to_owned().ok());
        let shared = Arc::clone(&self.shared);
        let backend = NetBackend::new(shared, link, first, self.gates.clone());
        Some(WorkerPlan {
            queues,
            events,
            backend: Box::new(backend.by_kernel(kernel)),
            waker: Arc::clone(self.wakers.get(first / 2)?),
        })
    }
}

impl VirtioDevice for Net {
    fn kind(&self) -> &'static str {
        "virtio-net"
    }

    fn id(&self) -> u16 {
        ID
    }

    fn class(&self) -> u32 {
        CLASS
    }

    fn features(&self) -> u64 {
        let on = |wanted: bool, bits: u64| if wanted { bits } else { 0 };
        let control = F_CTRL_VQ | F_CTRL_RX | F_CTRL_RX_EXTRA | F_CTRL_VLAN | F_CTRL_MAC_ADDR;
        let mut features = F_MAC | F_STATUS | F_MRG_RXBUF | F_GUEST_ANNOUNCE | control;
        features |= on(
            self.offloads.checksum,
            F_CSUM | F_GUEST_CSUM | F_CTRL_GUEST_OFFLOADS,
        );
        features |= on(self.offloads.tso4, F_HOST_TSO4 | F_GUEST_TSO4);
        features |= on(self.offloads.tso6, F_HOST_TSO6 | F_GUEST_TSO6);
        features |= on(self.offloads.ecn, F_HOST_ECN | F_GUEST_ECN);
        features |= on(self.mtu.is_some(), F_MTU);
        features | on(self.shared.pairs() > 1, F_MQ)
    }

    fn queue_sizes(&self) -> Vec<u16> {
        let mut sizes = vec![QUEUE_SIZE; 2 * usize::from(self.shared.pairs())];
        sizes.push(CONTROL_QUEUE_SIZE);
        sizes
    }

    fn workers(&mut self) -> Vec<WorkerPlan> {
        let queues = 2 * usize::from(self.shared.pairs()) + 1;
        let links = std::mem::take(&mut self.links);
        let kernel = std::mem::take(&mut self.kernel).into_iter().map(Some);
        let ways = links
            .into_iter()
            .zip(kernel.chain(std::iter::repeat_with(|| None)));
        let mut ways: Vec<_> = ways.collect();
        // Without descriptors left, queues have no worker and VirtioPci::new says so.
        if ways.len() == 1 {
            let way = ways.remove(0);
            return self.plan(way, 0, queues).into_iter().collect();
        }
        let last = ways.len().saturating_sub(1);
        let ways = ways.into_iter().enumerate();
        // Control is the last pair's.
        let plans = ways
            .filter_map(|(pair, way)| self.plan(way, 2 * pair, if pair == last { 3 } else { 2 }));
        plans.collect()
    }

    /// `struct virtio_net_config`.
    fn config(&self) -> Vec<u8> {
        let state = self.shared.state();
        let mut config = state.mac.to_vec();
        config.extend_from_slice(&state.status().to_le_bytes());
        config.extend_from_slice(&self.shared.pairs().to_le_bytes());
        config.extend_from_slice(&self.mtu.unwrap_or(0).to_le_bytes());
        config
    }

    fn reset(&mut self) {
        self.shared.driver_reset();
    }

    fn save(&self) -> Vec<u8> {
        self.shared.save()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.shared.restore(bytes)
    }
}

#[cfg(test)]
mod tests;
