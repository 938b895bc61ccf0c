//! The shorter way of a pair's frames: the host's kernel moves them between the guest's rings and the tap (vhost-net),
//! and this process has nothing to do but to interrupt the guest.
//!
//! It is taken only while nobody has to see frames here, and left at once when somebody does: each turn of the worker
//! asks. Left, too, whenever the worker is held: for a pause, a save, a reset. So whoever looks at the rings then finds
//! those of an ordinary card, and what is saved knows of no kernel.
//!
//! - **While writes to RAM are logged** frames pass this process, which logs what it writes. The kernel could, too
//!   (`VHOST_F_LOG_ALL`), in a log of its own that somebody would have to add to ours; the slower way for that long
//!   is simpler, and it ends.
//! - **Never under a software engine**: the kernel writes to RAM without a word to whoever has translated it.
//! - **A ring that makes no sense to the kernel** is taken back and judged here, as any other. The kernel is not asked
//!   again until the driver has reset the card, so a guest cannot have it refuse again and again.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use memory::GuestMemory;
use netio::{
    Firewall, Heard, InterfaceCounts, LentRing, RingPlace, TapLink, Traffic, Vhost, VhostError,
};

use super::{F_MRG_RXBUF, kernel_memory_raw};
use crate::virtio::{F_EVENT_IDX, F_INDIRECT_DESC, F_VERSION_1, Nonsense, Ring};

/// Queues of a pair: the first of the worker's rings.
const PAIR: usize = 2;
/// What of the driver's features is the kernel's affair. The rest is between the driver, the tap and us.
const FEATURES: u64 = F_VERSION_1 | F_EVENT_IDX | F_INDIRECT_DESC | F_MRG_RXBUF;

/// What a card's frames mean to others, who may have to see them.
#[derive(Debug, Clone)]
pub struct Onlookers {
    pub firewall: Firewall,
    pub traffic: Arc<Traffic>,
    pub interface: Arc<InterfaceCounts>,
}

/// The kernel's service for one pair of queues.
#[derive(Debug)]
pub struct KernelPath {
    vhost: Vhost,
    memory: GuestMemory,
    onlookers: Onlookers,
    /// It is not asked again, since it has said no.
    refused: bool,
}

impl KernelPath {
    /// # Errors
    /// When the host has no vhost-net for this process.
    pub fn open(
        link: &TapLink,
        memory: &GuestMemory,
        onlookers: Onlookers,
    ) -> Result<KernelPath, VhostError> {
        let failed = |source| VhostError::Events { source };
        let tap = link.tap().map_err(failed)?;
        let table = kernel_memory_raw::table(memory)
            .ok_or_else(|| failed(std::io::ErrorKind::OutOfMemory.into()))?;
        Ok(KernelPath::over(
            Vhost::open(tap, table)?,
            memory,
            onlookers,
        ))
    }

    pub(super) fn over(vhost: Vhost, memory: &GuestMemory, onlookers: Onlookers) -> KernelPath {
        KernelPath {
            vhost,
            memory: memory.clone(),
            onlookers,
            refused: false,
        }
    }

    /// Readable when the kernel, or while it is not at work the tap, has something for the worker.
    pub(super) fn events(&self) -> BorrowedFd<'_> {
        self.vhost.events()
    }

    /// How many queues the kernel serves now.
    pub(super) fn queues(&self) -> usize {
        if self.vhost.is_at_work() { PAIR } else { 0 }
    }

    /// A driver that is ready may have mended its rings.
    pub(super) fn try_again(&mut self) {
        self.refused = false;
    }

    /// Why frames have to pass this process now, beside what the worker itself knows.
    fn needed_here(&self) -> Option<&'static str> {
        if !self.onlookers.firewall.is_open() {
            return Some("there are rules, which look at frames in the guest's process");
        }
        if !self.memory.takes_kernel_writes() {
            return Some("the guest's memory is on its way to somewhere");
        }
        None
    }

    /// The kernel takes over, unless something speaks against it. Answers whether it has.
    pub(super) fn begin(
        &mut self,
        needed: Option<&'static str>,
        features: u64,
        rings: &[Ring],
    ) -> bool {
        if self.refused {
            return false;
        }
        let traffic = &self.onlookers.traffic;
        if let Some(why) = needed.or_else(|| self.needed_here()) {
            traffic.kernel_idle(why);
            return false;
        }
        let [
            Some((receive, receive_bell)),
            Some((transmit, transmit_bell)),
        ] = [0, 1].map(|at| lent(&self.vhost, rings.get(at)?))
        else {
            traffic
                .kernel_idle("the guest's driver has no queues that the host's kernel could serve");
            return false;
        };
        // What goes before this is not counted twice: no frame moves until the tap is the kernel's.
        traffic.kernel_begins(&self.onlookers.interface);
        if let Err(error) = self.vhost.begin(features & FEATURES, [receive, transmit]) {
            traffic.kernel_ends();
            traffic.kernel_idle(&error.to_string());
            self.refused = true;
            return false;
        }
        // What the driver notified before, it may have notified us of.
        receive_bell.ring();
        transmit_bell.ring();
        true
    }

    /// Carries to the driver what the kernel tells, and takes the rings back if somebody has to see frames. False
    /// where the kernel does not serve them, or not any more.
    pub(super) fn go_on(
        &mut self,
        needed: Option<&'static str>,
        rings: &mut [Ring],
    ) -> Result<bool, Nonsense> {
        if !self.vhost.is_at_work() {
            return Ok(false);
        }
        if let Some(why) = needed.or_else(|| self.needed_here()) {
            self.end(rings)?;
            self.onlookers.traffic.kernel_idle(why);
            return Ok(false);
        }
        match self.vhost.heard() {
            Heard::Calls(calls) => {
                let called = rings.iter().zip(calls).filter(|(_, called)| *called);
                called.for_each(|(ring, _)| ring.interrupt());
                Ok(true)
            }
            Heard::Error => {
                self.end(rings)?;
                self.refused = true;
                let why = "the guest's rings made no sense to the host's kernel";
                self.onlookers.traffic.kernel_idle(why);
                Ok(false)
            }
        }
    }

    /// The kernel serves the rings no more, which are all here again.
    pub(super) fn end(&mut self, rings: &mut [Ring]) -> Result<(), Nonsense> {
        if !self.vhost.is_at_work() {
            return Ok(());
        }
        let bases = self.vhost.end();
        self.onlookers.traffic.kernel_ends();
        for (ring, base) in rings.iter_mut().zip(bases.map_err(|_| Nonsense::Ring)?) {
            ring.take_back(base);
            // Whatever else the worker was rung for, it looks at both.
            if let Some(bell) = ring.bell() {
                bell.ring();
            }
        }
        Ok(())
    }
}

/// A ring for the kernel, and the bell that it hears. `None` where the driver has not enabled it, and where it does not
/// lie in one piece of RAM.
fn lent<'a>(vhost: &Vhost, ring: &'a Ring) -> Option<(LentRing<'a>, &'a crate::virtio::Doorbell)> {
    let bell = &**ring.bell()?;
    let state = ring.lend()?;
    let size = u64::from(state.size);
    // Spec: "Split Virtqueues": with the event index behind the elements.
    let place = RingPlace {
        descriptors: vhost.host(state.descriptors, 16 * size)?,
        driver: vhost.host(state.driver, 6 + 2 * size)?,
        device: vhost.host(state.device, 6 + 8 * size)?,
    };
    let ring = LentRing {
        place,
        size: state.size,
        next_available: state.next_available,
        kick: bell.as_fd(),
    };
    Some((ring, bell))
}

#[cfg(test)]
mod tests;
