//! A kernel for tests: knows what it was given, and does what a test has it do.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use memory::GuestMemory;
use netio::{MemoryTable, Requests, RingPlace, Signal};
use vm_memory::{Bytes, GuestAddress};

use crate::virtio::testing::{QUEUE_SIZE, queue_state};

#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) features: u64,
    /// It has the tap.
    pub(super) at_work: [bool; 2],
    pub(super) bases: [u16; 2],
    pub(super) sizes: [u16; 2],
    /// How often it has begun.
    pub(super) begun: u32,
    signals: Vec<(u32, Signal, OwnedFd)>,
    /// It takes no tap.
    pub(super) refuses: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct StandIn(Arc<Mutex<Given>>);

impl StandIn {
    pub(super) fn given(&self) -> MutexGuard<'_, Given> {
        self.0.lock().unwrap()
    }

    pub(super) fn is_at_work(&self) -> bool {
        self.given().at_work == [true; 2]
    }

    pub(super) fn signal(&self, ring: u32, which: Signal) {
        let given = self.given();
        let all = given.signals.iter();
        for (_, _, fd) in all.filter(|it| (it.0, it.1) == (ring, which)) {
            rustix::io::write(fd, &1u64.to_ne_bytes()).unwrap();
        }
    }

    /// Has the driver notified the ring since the last look? As the kernel hears it.
    pub(super) fn was_kicked(&self, ring: u32) -> bool {
        let given = self.given();
        let mut kicks = given.signals.iter();
        let kick = kicks.find(|it| (it.0, it.1) == (ring, Signal::Kick));
        kick.is_some_and(|(_, _, fd)| rustix::io::read(fd, &mut [0; 8]).is_ok())
    }

    /// Answers what is next in a ring, as one of a real kernel's turns does, and calls.
    pub(super) fn serve(&self, ring: u32, memory: &GuestMemory, written: u32) {
        let (state, ram) = (queue_state(ring.into(), QUEUE_SIZE), memory.ram());
        {
            let mut given = self.given();
            let base = &mut given.bases[ring as usize];
            let slot = u64::from(*base % QUEUE_SIZE);
            let at = |offset| GuestAddress(offset);
            let head: u16 = ram.read_obj(at(state.driver + 4 + 2 * slot)).unwrap();
            let element = [u32::from(head), written];
            ram.write_obj(element, at(state.device + 4 + 8 * slot))
                .unwrap();
            *base = base.wrapping_add(1);
            ram.write_obj(*base, at(state.device + 2)).unwrap();
        }
        self.signal(ring, Signal::Call);
    }
}

impl Requests for StandIn {
    fn own(&self) -> io::Result<()> {
        Ok(())
    }

    fn features(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn set_features(&self, features: u64) -> io::Result<()> {
        self.given().features = features;
        Ok(())
    }

    fn set_memory(&self, _memory: &MemoryTable) -> io::Result<()> {
        Ok(())
    }

    fn set_size(&self, ring: u32, size: u16) -> io::Result<()> {
        self.given().sizes[ring as usize] = size;
        Ok(())
    }

    fn set_place(&self, _ring: u32, _place: &RingPlace) -> io::Result<()> {
        Ok(())
    }

    fn set_base(&self, ring: u32, next_available: u16) -> io::Result<()> {
        self.given().bases[ring as usize] = next_available;
        Ok(())
    }

    fn base(&self, ring: u32) -> io::Result<u16> {
        Ok(self.given().bases[ring as usize])
    }

    fn set_signal(&self, ring: u32, which: Signal, event: BorrowedFd<'_>) -> io::Result<()> {
        let event = event.as_fd().try_clone_to_owned()?;
        let signals = &mut self.given().signals;
        signals.retain(|it| (it.0, it.1) != (ring, which));
        signals.push((ring, which, event));
        Ok(())
    }

    fn set_backend(&self, ring: u32, tap: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut given = self.given();
        if tap.is_some() && given.refuses {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        given.begun += u32::from(tap.is_some() && ring == 0);
        given.at_work[ring as usize] = tap.is_some();
        Ok(())
    }
}
