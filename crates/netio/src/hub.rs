//! Ports that see all of each other's frames, as on a hub; one port alone gets its own back. For
//! tests: no offloads, and a bounded queue at each port that drops what does not fit.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use crate::{Frame, Link, MAX_FRAME, OffloadHeader, Offloads};

/// Frames that wait at a port.
const QUEUE: usize = 64;

#[derive(Debug, Clone, Default)]
pub struct Hub {
    ports: Arc<Mutex<Vec<Port>>>,
}

#[derive(Debug)]
struct Port {
    waiting: VecDeque<Vec<u8>>,
    bell: Arc<OwnedFd>,
}

/// One port.
#[derive(Debug)]
pub struct HubLink {
    hub: Hub,
    index: usize,
    bell: Arc<OwnedFd>,
}

impl Hub {
    #[must_use]
    pub fn new() -> Hub {
        Hub::default()
    }

    fn ports(&self) -> MutexGuard<'_, Vec<Port>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new port.
    ///
    /// # Errors
    /// When the host has no file descriptors left.
    pub fn plug(&self) -> io::Result<HubLink> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let mut ports = self.ports();
        ports.push(Port {
            waiting: VecDeque::new(),
            bell: Arc::clone(&bell),
        });
        Ok(HubLink {
            hub: self.clone(),
            index: ports.len() - 1,
            bell,
        })
    }
}

impl HubLink {
    /// Sends a plain frame.
    pub fn put(&mut self, frame: &[u8]) {
        self.send(&OffloadHeader::default(), frame);
    }

    /// Takes the next frame.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        let mut taken = None;
        self.receive(&mut |frame| {
            taken = Some(frame.to_vec());
            true
        });
        taken
    }
}

impl Link for HubLink {
    fn offloads(&self) -> Offloads {
        Offloads::NONE
    }

    fn accept(&mut self, _guest: Offloads) {}

    fn send(&mut self, _offload: &OffloadHeader, frame: &[u8]) {
        if frame.len() > MAX_FRAME {
            return;
        }
        let mut ports = self.hub.ports();
        let alone = ports.len() == 1;
        for (index, port) in ports.iter_mut().enumerate() {
            if (index != self.index || alone) && port.waiting.len() < QUEUE {
                port.waiting.push_back(frame.to_vec());
                let _ = rustix::io::write(&*port.bell, &1u64.to_ne_bytes());
            }
        }
    }

    fn turn(&mut self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.bell, &mut count);
    }

    fn receive(&mut self, deliver: &mut dyn FnMut(&Frame<'_>) -> bool) -> bool {
        let mut ports = self.hub.ports();
        let Some(next) = ports[self.index].waiting.pop_front() else {
            return false;
        };
        let taken = deliver(&Frame {
            offload: OffloadHeader::default(),
            parts: &[&next],
        });
        if !taken {
            ports[self.index].waiting.push_front(next);
        }
        taken
    }

    fn events(&self) -> Option<BorrowedFd<'_>> {
        Some(self.bell.as_fd())
    }
}

#[cfg(test)]
mod tests;
