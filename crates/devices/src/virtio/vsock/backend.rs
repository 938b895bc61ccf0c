//! The device's work on its thread: between the queues and the [`Exchange`].

use std::sync::Arc;

use crate::virtio::ring::Batch;
use crate::virtio::vsock::packet::{HEADER_LEN, Header, MOST_DATA};
use crate::virtio::vsock::{Exchange, Outgoing, Shared};
use crate::virtio::{Backend, Chain, Next, Nonsense, Ring};

/// `VIRTIO_VSOCK_EVENT_TRANSPORT_RESET`.
const TRANSPORT_RESET: [u8; 4] = [0; 4];

#[derive(Debug)]
pub(super) struct VsockBackend {
    exchange: Exchange,
    shared: Arc<Shared>,
    data: Vec<u8>,
}

impl VsockBackend {
    pub(super) fn new(exchange: Exchange, shared: Arc<Shared>) -> VsockBackend {
        VsockBackend {
            exchange,
            shared,
            data: Vec::new(),
        }
    }

    /// What the host's hand on the device has asked for.
    fn hear_news(&mut self) {
        let incoming = std::mem::take(&mut self.shared.news().incoming);
        for (stream, port) in incoming {
            self.exchange.connect(stream, port);
        }
    }

    /// Packets of the guest.
    fn transmit(&mut self, ring: &mut Ring) -> Result<Next, Nonsense> {
        let (exchange, data) = (&mut self.exchange, &mut self.data);
        ring.drain_now(|chain| {
            if exchange.is_full() {
                return Ok(None);
            }
            if let Some(header) = read_packet(chain, data)? {
                exchange.hear(&header, data);
            }
            Ok(Some(0))
        })
    }

    /// Packets for the guest.
    fn receive(&mut self, ring: &mut Ring) -> Result<Next, Nonsense> {
        ring.stop_notifications()?;
        let batch = Batch::begin();
        let next = loop {
            if !self.exchange.has_packet() {
                break Next::Wait;
            }
            let Some(chain) = ring.pop()? else {
                if ring.want_notifications()? {
                    continue;
                }
                // It is the guest's turn.
                break Next::Wait;
            };
            let room = usize::try_from(chain.writable_len()).unwrap_or(usize::MAX);
            if room <= HEADER_LEN {
                return Err(Nonsense::Short);
            }
            match self.exchange.packet(room - HEADER_LEN) {
                Some(packet) => {
                    let written = write_packet(&chain, &packet)?;
                    ring.complete(&chain, written)?;
                }
                None => ring.unpop(),
            }
            if batch.is_over() {
                break Next::Again;
            }
        };
        ring.signal()?;
        Ok(next)
    }

    /// Tells a guest that was restored that its connections are gone.
    fn tell_reset(&mut self, ring: &mut Ring) -> Result<(), Nonsense> {
        if !self.shared.news().restored {
            return Ok(());
        }
        let Some(chain) = ring.pop()? else {
            return Ok(());
        };
        chain.write_at(0, &TRANSPORT_RESET)?;
        ring.complete(&chain, 4)?;
        self.shared.news().restored = false;
        ring.signal()
    }
}

/// Header and data of a packet; nothing when it is none.
fn read_packet(chain: &Chain, data: &mut Vec<u8>) -> Result<Option<Header>, Nonsense> {
    let mut bytes = [0; HEADER_LEN];
    if chain.read_at(0, &mut bytes).is_err() {
        return Ok(None);
    }
    let header = Header::from_bytes(&bytes);
    let len = usize::try_from(header.len).unwrap_or(usize::MAX);
    let there = chain.readable_len() - HEADER_LEN as u64;
    if len > MOST_DATA || len as u64 > there {
        return Ok(None);
    }
    data.resize(len, 0);
    chain.read_at(HEADER_LEN as u64, data)?;
    Ok(Some(header))
}

fn write_packet(chain: &Chain, packet: &Outgoing<'_>) -> Result<u32, Nonsense> {
    chain.write_at(0, &packet.header.to_bytes())?;
    chain.write_at(HEADER_LEN as u64, packet.data)?;
    let written = HEADER_LEN + packet.data.len();
    Ok(u32::try_from(written).unwrap_or(u32::MAX))
}

impl Backend for VsockBackend {
    fn work(&self) -> threads::Work {
        threads::Work::Sockets
    }

    fn start(&mut self, _features: u64) {
        // Also after a restore, which a running device may have: whatever there was is gone.
        self.exchange.clear();
    }

    fn serve(&mut self, _queue: usize, rings: &mut [Ring]) -> Result<Next, Nonsense> {
        let [receive, transmit, event] = rings else {
            return Ok(Next::Wait);
        };
        self.tell_reset(event)?;
        self.hear_news();
        let more = self.exchange.turn();
        let mut next = self.transmit(transmit)?;
        let held_up = self.exchange.is_full();
        let received = self.receive(receive)?;
        if held_up {
            // The guest has to take what there is first.
            next = if self.exchange.is_full() {
                Next::Wait
            } else {
                Next::Again
            };
        }
        next = next.sooner(received);
        if more {
            next = Next::Again;
        }
        Ok(next)
    }

    fn reset(&mut self) {
        self.exchange.clear();
        self.shared.news().restored = false;
    }
}
