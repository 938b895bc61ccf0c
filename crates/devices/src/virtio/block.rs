//! Virtio block device: a disk of 512-byte sectors, with flush, discard and zeroing.
//! Spec: VIRTIO 1.2, "Block Device".

mod request;

use std::fmt::Debug;
use std::sync::Arc;

use block::{BlockDevice, SECTOR_SIZE};
use serde::{Deserialize, Serialize};

use crate::virtio::{Backend, Doorbell, Next, Nonsense, RateGate, Ring, VirtioDevice, WorkerPlan};

pub use request::{RequestContext, process_request, serve_prepared};
use request::{process_now, serve};

const ID: u16 = 2;
/// Mass storage, other.
const CLASS: u32 = 0x01_80_00;

const F_SEG_MAX: u64 = 1 << 2;
const F_RO: u64 = 1 << 5;
const F_BLK_SIZE: u64 = 1 << 6;
const F_FLUSH: u64 = 1 << 9;
const F_TOPOLOGY: u64 = 1 << 10;
const F_MQ: u64 = 1 << 12;
const F_DISCARD: u64 = 1 << 13;
const F_WRITE_ZEROES: u64 = 1 << 14;

const QUEUE_SIZE: u16 = 256;
/// Data descriptors of a request: a full queue less header and status.
const SEG_MAX: u32 = QUEUE_SIZE as u32 - 2;
const MAX_QUEUES: u16 = 16;
/// Bytes of the serial number.
pub(crate) const SERIAL_LEN: usize = 20;
/// Bytes of what the guest's drivers address.
const LOGICAL_BLOCK: u32 = 512;
/// Physical block as a power of two of logical ones: hosts write 4096 bytes at once.
const PHYSICAL_EXPONENT: u8 = 3;
const PHYSICAL_SECTORS: u32 = 1 << PHYSICAL_EXPONENT;
/// Sectors that one discard or zeroing may name: 2 GiB, so that it ends soon.
pub(crate) const MAX_RANGE_SECTORS: u32 = 1 << 22;
/// Ranges that one discard or zeroing may name.
pub(crate) const MAX_RANGES: u32 = 1;

/// How the guest sees the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockOptions {
    /// What the guest reads as `/sys/block/vda/serial`: its first 20 bytes.
    pub serial: String,
    /// Request queues, each with a thread of its own: 1 to 16.
    pub queues: u16,
}

impl Default for BlockOptions {
    fn default() -> BlockOptions {
        BlockOptions {
            serial: String::new(),
            queues: 1,
        }
    }
}

/// Who has the guest stand still when the host has no room for what it writes. The write stays where it was, and is tried
/// again when the machine goes on, here or, if it is saved meanwhile, elsewhere.
pub trait NoRoom: Send + Sync + Debug {
    /// Answers whether the guest will stand still. Returns at once: the worker that calls has to rest before that.
    fn stop(&self) -> bool;
}

#[derive(Debug)]
pub struct Block {
    disk: Arc<dyn BlockDevice>,
    serial: [u8; SERIAL_LEN],
    queues: u16,
    gate: RateGate,
    no_room: Option<Arc<dyn NoRoom>>,
}

/// The disk that the saved requests are meant for.
#[derive(Debug, Serialize, Deserialize)]
struct BlockStateV1 {
    sectors: u64,
    read_only: bool,
}

impl Block {
    #[must_use]
    pub fn new(disk: Arc<dyn BlockDevice>, options: &BlockOptions) -> Block {
        let mut serial = [0; SERIAL_LEN];
        for (to, from) in serial.iter_mut().zip(options.serial.bytes()) {
            *to = from;
        }
        Block {
            disk,
            serial,
            queues: options.queues.clamp(1, MAX_QUEUES),
            gate: RateGate::default(),
            no_room: None,
        }
    }

    /// Keeps writes that the host has no room for, rather than to fail them, where the guest then stands still.
    #[must_use]
    pub fn keeping(mut self, no_room: Arc<dyn NoRoom>) -> Block {
        self.no_room = Some(no_room);
        self
    }

    /// Serves no more requests than `gate` lets pass.
    #[must_use]
    pub fn through(mut self, gate: RateGate) -> Block {
        self.gate = gate;
        self
    }

    fn sectors(&self) -> u64 {
        self.disk.len() / SECTOR_SIZE
    }
}

impl VirtioDevice for Block {
    fn kind(&self) -> &'static str {
        "virtio-block"
    }

    fn id(&self) -> u16 {
        ID
    }

    fn class(&self) -> u32 {
        CLASS
    }

    fn features(&self) -> u64 {
        let mut features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY;
        if self.queues > 1 {
            features |= F_MQ;
        }
        if self.disk.read_only() {
            features | F_RO
        } else {
            features | F_DISCARD | F_WRITE_ZEROES
        }
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; usize::from(self.queues)]
    }

    fn workers(&mut self) -> Vec<WorkerPlan> {
        let plans = (0..self.queues).filter_map(|_| {
            Some(WorkerPlan {
                queues: 1,
                backend: Box::new(BlockBackend {
                    context: RequestContext::new(Arc::clone(&self.disk), self.serial)
                        .through(self.gate.clone())
                        .keeping(self.no_room.clone()),
                }),
                // Without descriptors left, the queue has no worker and VirtioPci::new says so.
                waker: Arc::new(Doorbell::new().ok()?),
                events: None,
            })
        });
        plans.collect()
    }

    /// `struct virtio_blk_config`.
    fn config(&self) -> Vec<u8> {
        let mut config = Vec::with_capacity(60);
        config.extend_from_slice(&self.sectors().to_le_bytes());
        config.extend_from_slice(&0u32.to_le_bytes()); // size_max: not on offer
        config.extend_from_slice(&SEG_MAX.to_le_bytes());
        config.extend_from_slice(&[0; 4]); // geometry: not on offer
        config.extend_from_slice(&LOGICAL_BLOCK.to_le_bytes());
        config.extend_from_slice(&[PHYSICAL_EXPONENT, 0]);
        config.extend_from_slice(&(1u16 << PHYSICAL_EXPONENT).to_le_bytes());
        config.extend_from_slice(&0u32.to_le_bytes()); // no optimal size
        config.extend_from_slice(&[1, 0]); // write-back cache
        config.extend_from_slice(&self.queues.to_le_bytes());
        config.extend_from_slice(&MAX_RANGE_SECTORS.to_le_bytes());
        config.extend_from_slice(&MAX_RANGES.to_le_bytes());
        config.extend_from_slice(&PHYSICAL_SECTORS.to_le_bytes());
        config.extend_from_slice(&MAX_RANGE_SECTORS.to_le_bytes());
        config.extend_from_slice(&MAX_RANGES.to_le_bytes());
        config.extend_from_slice(&[1, 0, 0, 0]); // zeroing may give storage back
        config
    }

    fn save(&self) -> Vec<u8> {
        let state = BlockStateV1 {
            sectors: self.sectors(),
            read_only: self.disk.read_only(),
        };
        // Two integers always serialise; an empty body is refused on restore.
        postcard::to_stdvec(&state).unwrap_or_default()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let state: BlockStateV1 = postcard::from_bytes(bytes).map_err(|error| error.to_string())?;
        if state.sectors != self.sectors() {
            return Err(format!(
                "the disk {} has {} sectors, the saved one {}",
                self.disk.identify(),
                self.sectors(),
                state.sectors
            ));
        }
        if state.read_only != self.disk.read_only() {
            return Err(format!(
                "the disk {} is writable where the saved one is not, or the reverse",
                self.disk.identify()
            ));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct BlockBackend {
    context: RequestContext,
}

impl Backend for BlockBackend {
    fn start(&mut self, features: u64) {
        // A driver that cannot flush must find its writes stable when they are answered.
        self.context.set_write_through(features & F_FLUSH == 0);
    }

    fn serve(&mut self, queue: usize, rings: &mut [Ring]) -> Result<Next, Nonsense> {
        let Some(ring) = rings.get_mut(queue) else {
            return Ok(Next::Wait);
        };
        serve(ring, &mut self.context)
    }

    fn serve_now(&mut self, queue: usize, rings: &mut [Ring]) -> Result<Next, Nonsense> {
        let Some(ring) = rings.get_mut(queue) else {
            return Ok(Next::Wait);
        };
        if self.context.gate().is_limited() {
            return Ok(Next::Again);
        }
        ring.drain_now(|chain| process_now(&mut self.context, chain))
    }
}

#[cfg(test)]
pub(crate) mod test_disk;
#[cfg(test)]
mod tests;
