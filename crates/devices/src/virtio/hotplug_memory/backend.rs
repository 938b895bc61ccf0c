//! The memory device's queue of requests.

use std::sync::Arc;

use crate::virtio::hotplug_memory::request::{read, write};
use crate::virtio::hotplug_memory::shared::Shared;
use crate::virtio::{Backend, Next, Nonsense, Ring};

#[derive(Debug)]
pub(super) struct MemoryBackend {
    shared: Arc<Shared>,
    /// What the driver was told that the host wants, in bytes.
    announced: u64,
}

impl MemoryBackend {
    pub(super) fn new(shared: Arc<Shared>) -> MemoryBackend {
        MemoryBackend {
            shared,
            announced: 0,
        }
    }
}

impl Backend for MemoryBackend {
    fn start(&mut self, _features: u64) {
        // A driver looks by itself when it begins, and one of a restored machine has looked.
        self.announced = self.shared.report().requested;
    }

    fn serve(&mut self, queue: usize, rings: &mut [Ring]) -> Result<Next, Nonsense> {
        let Some(ring) = rings.get_mut(queue) else {
            return Ok(Next::Wait);
        };
        let requested = self.shared.report().requested;
        if requested != self.announced {
            self.announced = requested;
            ring.config_changed();
        }
        ring.drain(|chain| {
            let answer = self.shared.carry_out(read(chain)?);
            write(chain, answer)
        })
    }
}
