//! The balloon's queues.

use std::sync::Arc;

use memory::GuestMemory;

use crate::virtio::balloon::shared::Shared;
use crate::virtio::balloon::{DEFLATE, INFLATE, MemoryStatistics, REPORTING, STATISTICS, pages};
use crate::virtio::{Backend, Next, Nonsense, Ring};

#[derive(Debug)]
pub(super) struct BalloonBackend {
    memory: GuestMemory,
    shared: Arc<Shared>,
    /// The target that the driver was told of.
    announced: u32,
    /// The driver's buffer of statistics, which stays in its queue, has been read.
    statistics_read: bool,
}

impl BalloonBackend {
    pub(super) fn new(memory: GuestMemory, shared: Arc<Shared>) -> BalloonBackend {
        BalloonBackend {
            memory,
            shared,
            announced: 0,
            statistics_read: false,
        }
    }

    /// Tells the driver of a new target.
    fn announce(&mut self, ring: &Ring) {
        let target = self.shared.state().target;
        if target != self.announced {
            self.announced = target;
            ring.config_changed();
        }
    }

    /// A driver puts one buffer here, filled, and fills it anew when it gets it back. It gets it back
    /// when the host asks; until then it stays in the queue, and in a saved machine.
    fn serve_statistics(&mut self, ring: &mut Ring) -> Result<Next, Nonsense> {
        if !self.statistics_read {
            let Some(chain) = ring.pop()? else {
                // Not there yet, or it has come meanwhile.
                let come = ring.want_notifications()?;
                return Ok(if come { Next::Again } else { Next::Wait });
            };
            self.shared.told(MemoryStatistics::read(&chain)?);
            self.statistics_read = true;
            ring.unpop();
        }
        if self.shared.take_asked()
            && let Some(chain) = ring.pop()?
        {
            self.statistics_read = false;
            ring.complete(&chain, 0)?;
            // Before the driver can have it: then it tells when it has filled it.
            let more = ring.want_notifications()?;
            ring.signal()?;
            return Ok(if more { Next::Again } else { Next::Wait });
        }
        Ok(Next::Wait)
    }
}

impl Backend for BalloonBackend {
    fn start(&mut self, _features: u64) {
        // A driver looks by itself when it begins, and one of a restored machine has looked.
        self.announced = self.shared.state().target;
        self.statistics_read = false;
    }

    fn serve(&mut self, queue: usize, rings: &mut [Ring]) -> Result<Next, Nonsense> {
        let Some(ring) = rings.get_mut(queue) else {
            return Ok(Next::Wait);
        };
        self.announce(ring);
        let (memory, shared) = (&self.memory, &self.shared);
        match queue {
            INFLATE => ring.drain(|chain| {
                shared.returned(pages::inflate(memory, chain)?);
                Ok(0)
            }),
            // A page that the driver takes out is there when it is touched.
            DEFLATE => ring.drain(|_| Ok(0)),
            STATISTICS => self.serve_statistics(ring),
            REPORTING => ring.drain(|chain| {
                // Where the guest expects a pattern in free pages, zeros would not do.
                if shared.state().poison == 0 {
                    shared.returned(pages::report(memory, chain));
                }
                Ok(0)
            }),
            _ => Ok(Next::Wait),
        }
    }

    fn reset(&mut self) {
        self.statistics_read = false;
    }
}
