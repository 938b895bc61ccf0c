//! Virtio file system device: a folder of the host, under a name by which the guest mounts it.
//!
//! What is asked and answered is the folder's affair ([`folder`]); here are the queues. One worker
//! serves the high-priority queue and one for requests, each request to its end.
//! Spec: VIRTIO 1.2, "File System Device".

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use folder::{Folder, HEADER_LEN, MAX_DATA};

use crate::virtio::{
    Backend, Chain, Doorbell, Next, Nonsense, RateGate, Ring, VirtioDevice, WorkerPlan,
};

const ID: u16 = 26;
/// Mass storage, other.
const CLASS: u32 = 0x01_80_00;
/// The guest's driver makes its requests no longer than a queue has descriptors.
const QUEUE_SIZE: u16 = 512;
const QUEUES: usize = 2;
/// Bytes of the name.
pub const TAG_LEN: usize = 36;
/// The longest request: what is written, its names and numbers.
const LONGEST: usize = MAX_DATA + (16 << 10);

/// A folder, which its worker answers for and its registers save.
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<Folder>>);

impl Shared {
    fn folder(&self) -> MutexGuard<'_, Folder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub struct Fs {
    folder: Shared,
    tag: [u8; TAG_LEN],
    gate: RateGate,
}

impl Fs {
    /// `tag` is what the guest mounts: its first 36 bytes.
    #[must_use]
    pub fn new(folder: Folder, tag: &str) -> Fs {
        let mut bytes = [0; TAG_LEN];
        for (to, from) in bytes.iter_mut().zip(tag.bytes()) {
            *to = from;
        }
        Fs {
            folder: Shared(Arc::new(Mutex::new(folder))),
            tag: bytes,
            gate: RateGate::default(),
        }
    }

    /// Serves no more requests than `gate` lets pass.
    #[must_use]
    pub fn through(mut self, gate: RateGate) -> Fs {
        self.gate = gate;
        self
    }
}

impl VirtioDevice for Fs {
    fn kind(&self) -> &'static str {
        "virtio-fs"
    }

    fn id(&self) -> u16 {
        ID
    }

    fn class(&self) -> u32 {
        CLASS
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; QUEUES]
    }

    fn workers(&mut self) -> Vec<WorkerPlan> {
        let backend = FsBackend {
            folder: self.folder.clone(),
            gate: self.gate.clone(),
            request: Vec::new(),
            answer: Vec::new(),
        };
        // Without descriptors left there is no worker, and VirtioPci::new says so.
        let plan = Doorbell::new().ok().map(|waker| WorkerPlan {
            queues: QUEUES,
            backend: Box::new(backend),
            waker: Arc::new(waker),
            events: None,
        });
        plan.into_iter().collect()
    }

    /// `struct virtio_fs_config`.
    fn config(&self) -> Vec<u8> {
        let mut config = self.tag.to_vec();
        config.extend_from_slice(&1u32.to_le_bytes()); // queues for requests
        config
    }

    fn reset(&mut self) {
        self.folder.folder().reset();
    }

    fn save(&self) -> Vec<u8> {
        self.folder.folder().save()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.folder.folder().restore(bytes)
    }
}

#[derive(Debug)]
struct FsBackend {
    folder: Shared,
    gate: RateGate,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl FsBackend {
    /// Bytes of the answer.
    fn process(&mut self, chain: &Chain) -> Result<u32, Nonsense> {
        let len = usize::try_from(chain.readable_len()).unwrap_or(usize::MAX);
        if !(HEADER_LEN..=LONGEST).contains(&len) {
            return Err(Nonsense::Short);
        }
        self.gate.spend(chain.readable_len() + chain.writable_len());
        self.request.resize(len, 0);
        // Whoever reads it must not see it change.
        chain.read_at(0, &mut self.request)?;
        let room = usize::try_from(chain.writable_len()).unwrap_or(usize::MAX);
        let mut folder = self.folder.folder();
        folder.answer(&self.request, room, &mut self.answer);
        drop(folder);
        chain.write_at(0, &self.answer)?;
        Ok(u32::try_from(self.answer.len()).unwrap_or(u32::MAX))
    }
}

impl Backend for FsBackend {
    fn work(&self) -> threads::Work {
        threads::Work::Folder
    }

    fn serve(&mut self, queue: usize, rings: &mut [Ring]) -> Result<Next, Nonsense> {
        let Some(ring) = rings.get_mut(queue) else {
            return Ok(Next::Wait);
        };
        let gate = self.gate.clone();
        ring.drain_through(&gate, |chain| self.process(chain))
    }
}

#[cfg(test)]
mod tests;
