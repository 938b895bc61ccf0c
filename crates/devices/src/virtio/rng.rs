//! Virtio entropy device: random bytes of the host, at a bounded rate.
//! Spec: VIRTIO 1.2, "Entropy Device".

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};

use crate::virtio::ring::Batch;
use crate::virtio::{Backend, Chain, Doorbell, Next, Nonsense, Ring, VirtioDevice, WorkerPlan};

const ID: u16 = 4;
/// No class of the list fits.
const CLASS: u32 = 0xff_00_00;
const QUEUE_SIZE: u16 = 64;
/// Bytes drawn from the host at once.
const PIECE: usize = 256;

/// How much a guest may draw, so that it cannot keep a host processor busy with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RngLimit {
    /// Bytes.
    pub per_second: u32,
    /// Bytes that may be drawn at once after a rest; also the longest answer.
    pub burst: u32,
}

impl Default for RngLimit {
    fn default() -> RngLimit {
        RngLimit {
            per_second: 1 << 20,
            burst: 64 << 10,
        }
    }
}

#[derive(Debug)]
pub struct Rng {
    limit: RngLimit,
}

impl Rng {
    #[must_use]
    pub fn new(limit: RngLimit) -> Rng {
        Rng { limit }
    }
}

impl VirtioDevice for Rng {
    fn kind(&self) -> &'static str {
        "virtio-rng"
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
        vec![QUEUE_SIZE]
    }

    fn workers(&mut self) -> Vec<WorkerPlan> {
        let backend = RngBackend {
            budget: Budget::new(self.limit),
        };
        let waker = Doorbell::new().ok();
        let plan = waker.map(|waker| WorkerPlan {
            queues: 1,
            backend: Box::new(backend),
            waker: Arc::new(waker),
            events: None,
        });
        plan.into_iter().collect()
    }

    fn config(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// Bytes that may be drawn now; grows with time up to the burst.
#[derive(Debug)]
struct Budget {
    limit: RngLimit,
    /// In millionths of a byte, so that a microsecond counts.
    left: u64,
    counted: Instant,
}

const FRACTION: u64 = 1_000_000;

impl Budget {
    fn new(limit: RngLimit) -> Budget {
        Budget {
            limit: RngLimit {
                per_second: limit.per_second.max(1),
                burst: limit.burst.max(1),
            },
            left: u64::from(limit.burst.max(1)) * FRACTION,
            counted: Instant::now(),
        }
    }

    /// Whole bytes that may be drawn at `now`.
    fn available(&mut self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.counted).as_micros();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.counted = now;
        let earned = elapsed.saturating_mul(u64::from(self.limit.per_second));
        let most = u64::from(self.limit.burst) * FRACTION;
        self.left = self.left.saturating_add(earned).min(most);
        self.left / FRACTION
    }

    fn spend(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes * FRACTION);
    }

    /// Until there is a useful number of bytes again.
    fn wait(&self) -> Duration {
        let wanted = (PIECE as u64).min(u64::from(self.limit.burst)) * FRACTION;
        let missing = wanted.saturating_sub(self.left);
        Duration::from_micros(missing / u64::from(self.limit.per_second) + 1)
    }
}

#[derive(Debug)]
struct RngBackend {
    budget: Budget,
}

impl Backend for RngBackend {
    fn serve(&mut self, queue: usize, rings: &mut [Ring]) -> Result<Next, Nonsense> {
        let Some(ring) = rings.get_mut(queue) else {
            return Ok(Next::Wait);
        };
        let batch = Batch::begin();
        while !batch.is_over() {
            let available = self.budget.available(Instant::now());
            if available == 0 {
                ring.signal()?;
                return Ok(Next::After(self.budget.wait()));
            }
            let Some(chain) = ring.pop()? else {
                ring.signal()?;
                if ring.want_notifications()? {
                    continue;
                }
                return Ok(Next::Wait);
            };
            // A shorter answer than asked for is an answer.
            let written = fill(&chain, available)?;
            self.budget.spend(written);
            ring.complete(&chain, u32::try_from(written).unwrap_or(u32::MAX))?;
        }
        ring.signal()?;
        Ok(Next::Again)
    }
}

/// Fills up to `most` bytes of the chain. Answers how many.
fn fill(chain: &Chain, most: u64) -> Result<u64, Nonsense> {
    let len = chain.writable_len().min(most);
    let mut bytes = [0; PIECE];
    let mut done = 0;
    while done < len {
        let wanted = usize::try_from(len - done).map_or(PIECE, |left| left.min(PIECE));
        // Never blocks here: the host's pool is ready since it booted. On an error: a short answer.
        let Ok(got) = getrandom(&mut bytes[..wanted], GetRandomFlags::empty()) else {
            break;
        };
        chain.write_at(done, &bytes[..got])?;
        done += got as u64;
    }
    Ok(done)
}

#[cfg(test)]
mod tests;
