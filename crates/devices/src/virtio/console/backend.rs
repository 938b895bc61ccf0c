//! The console's worker: moves bytes and control messages between the queues and the host.
//! Spec: VIRTIO 1.2, "Console Device", "Device Operation".

use std::sync::Arc;

use crate::virtio::console::F_MULTIPORT;
use crate::virtio::console::handle::{
    EVENT_CONSOLE_PORT, EVENT_DEVICE_READY, EVENT_PORT_ADD, EVENT_PORT_NAME, EVENT_PORT_OPEN,
    EVENT_PORT_READY, Message, Shared,
};
use crate::virtio::ring::Batch;
use crate::virtio::{Backend, Chain, Next, Nonsense, Ring};

const CONTROL_RECEIVE: usize = 2;
const CONTROL_TRANSMIT: usize = 3;
/// `struct virtio_console_control`.
const CONTROL_LEN: usize = 8;
/// Bytes moved at once.
const PIECE: usize = 4096;

/// What a queue is for, in the driver's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Receive(usize),
    Transmit(usize),
    ControlReceive,
    ControlTransmit,
}

fn role(queue: usize) -> Role {
    match queue {
        0 => Role::Receive(0),
        1 => Role::Transmit(0),
        CONTROL_RECEIVE => Role::ControlReceive,
        CONTROL_TRANSMIT => Role::ControlTransmit,
        _ if queue.is_multiple_of(2) => Role::Receive(queue / 2 - 1),
        _ => Role::Transmit(queue / 2 - 1),
    }
}

/// The queue by which port `port` receives.
fn receive_queue(port: usize) -> usize {
    if port == 0 { 0 } else { 2 * port + 2 }
}

#[derive(Debug)]
pub(super) struct ConsoleBackend {
    shared: Arc<Shared>,
    multiport: bool,
}

impl ConsoleBackend {
    pub(super) fn new(shared: Arc<Shared>) -> ConsoleBackend {
        ConsoleBackend {
            shared,
            multiport: false,
        }
    }

    /// Fills the guest's buffers with what the host has for the port.
    fn fill_receive_queue(&mut self, port: usize, ring: &mut Ring) -> Result<Next, Nonsense> {
        let batch = Batch::begin();
        loop {
            if batch.is_over() {
                ring.signal()?;
                return Ok(Next::Again);
            }
            let mut bytes = [0; PIECE];
            let wanted = {
                let state = self.shared.state();
                let Some(port_state) = state.ports.get(port) else {
                    return Ok(Next::Wait);
                };
                // A port that nobody in the guest has open would lose its input.
                if port_state.input.is_empty() || port > 0 && !port_state.guest_open {
                    break;
                }
                let wanted = port_state.input.len().min(PIECE);
                for (to, from) in bytes.iter_mut().zip(&port_state.input) {
                    *to = *from;
                }
                wanted
            };
            let Some(chain) = ring.pop()? else {
                if ring.want_notifications()? {
                    continue;
                }
                break;
            };
            let room = usize::try_from(chain.writable_len()).unwrap_or(PIECE);
            let len = wanted.min(room);
            chain.write_at(0, &bytes[..len])?;
            ring.complete(&chain, u32::try_from(len).unwrap_or(0))?;
            // Only this thread takes input out, so it is still the same.
            let mut state = self.shared.state();
            if let Some(port_state) = state.ports.get_mut(port) {
                let taken = len.min(port_state.input.len());
                port_state.input.drain(..taken);
            }
            drop(state);
            self.shared.note_taken(port, len);
        }
        ring.signal()?;
        Ok(Next::Wait)
    }

    /// Passes on what the guest wrote, as far as the host has room.
    fn empty_transmit_queue(&mut self, port: usize, ring: &mut Ring) -> Result<Next, Nonsense> {
        let shared = Arc::clone(&self.shared);
        let Some(output) = shared.outputs.get(port) else {
            return Ok(Next::Wait);
        };
        let mut bytes = [0; PIECE];
        let batch = Batch::begin();
        let mut next = Next::Wait;
        loop {
            if batch.is_over() {
                next = Next::Again;
                break;
            }
            let Some(chain) = ring.pop()? else {
                if ring.want_notifications()? {
                    continue;
                }
                break;
            };
            // Only this thread moves it.
            let mut sent = shared.state().ports[port].sent;
            while sent < chain.readable_len() && !batch.is_over() {
                let left = usize::try_from(chain.readable_len() - sent).unwrap_or(PIECE);
                let len = left.min(output.room()).min(PIECE);
                if len == 0 {
                    break;
                }
                chain.read_at(sent, &mut bytes[..len])?;
                output.push(&bytes[..len]);
                sent += len as u64;
            }
            let done = sent >= chain.readable_len();
            shared.state().ports[port].sent = if done { 0 } else { sent };
            if !done {
                // The rest waits in the ring, so that a full terminal stops the program that prints.
                // The writer's thread rings when there is room.
                ring.unpop();
                if batch.is_over() {
                    next = Next::Again;
                }
                break;
            }
            ring.complete(&chain, 0)?;
        }
        ring.signal()?;
        Ok(next)
    }

    fn send_control(&mut self, ring: &mut Ring) -> Result<Next, Nonsense> {
        // At most as many messages as wait.
        loop {
            if self.shared.state().messages.is_empty() {
                break;
            }
            let Some(chain) = ring.pop()? else {
                if ring.want_notifications()? {
                    continue;
                }
                break;
            };
            let Some(message) = self.shared.state().messages.pop_front() else {
                ring.unpop();
                break;
            };
            let bytes = encode(&message);
            let room = usize::try_from(chain.writable_len()).unwrap_or(0);
            // A guest whose buffer is too short for a name gets it cut.
            let len = bytes.len().min(room);
            chain.write_at(0, &bytes[..len])?;
            ring.complete(&chain, u32::try_from(len).unwrap_or(0))?;
        }
        ring.signal()?;
        Ok(Next::Wait)
    }

    fn receive_control(&mut self, rings: &mut [Ring]) -> Result<Next, Nonsense> {
        let shared = Arc::clone(&self.shared);
        let mut opened = Vec::new();
        let Some(ring) = rings.get_mut(CONTROL_TRANSMIT) else {
            return Ok(Next::Wait);
        };
        let next = ring.drain(|chain| {
            if let Some(event) = handle_control(&shared, chain)? {
                opened.push(event);
            }
            Ok(0)
        })?;
        for &(port, open) in &opened {
            shared.report(port, open);
        }
        // Answers, and input for ports that have just been opened.
        if let Some(ring) = rings.get_mut(CONTROL_RECEIVE) {
            self.send_control(ring)?;
        }
        for (port, _) in opened {
            if let Some(ring) = rings.get_mut(receive_queue(port))
                && self.fill_receive_queue(port, ring)? == Next::Again
            {
                shared.wake();
            }
        }
        Ok(next)
    }
}

impl Backend for ConsoleBackend {
    fn start(&mut self, features: u64) {
        self.multiport = features & F_MULTIPORT != 0;
    }

    fn serve(&mut self, queue: usize, rings: &mut [Ring]) -> Result<Next, Nonsense> {
        if queue == 0 && !self.multiport {
            let changed = std::mem::take(&mut self.shared.state().size_changed);
            if changed && let Some(ring) = rings.first() {
                ring.config_changed();
            }
        }
        if queue == CONTROL_TRANSMIT {
            return self.receive_control(rings);
        }
        let Some(ring) = rings.get_mut(queue) else {
            return Ok(Next::Wait);
        };
        match role(queue) {
            Role::Receive(port) => self.fill_receive_queue(port, ring),
            Role::Transmit(port) => self.empty_transmit_queue(port, ring),
            Role::ControlReceive => self.send_control(ring),
            Role::ControlTransmit => Ok(Next::Wait),
        }
    }

    fn reset(&mut self) {
        self.multiport = false;
    }
}

fn encode(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CONTROL_LEN + message.tail.len());
    bytes.extend_from_slice(&message.port.to_le_bytes());
    bytes.extend_from_slice(&message.event.to_le_bytes());
    bytes.extend_from_slice(&message.value.to_le_bytes());
    bytes.extend_from_slice(&message.tail);
    bytes
}

/// Acts on one control message. Answers a port that a program opened or closed.
fn handle_control(shared: &Shared, chain: &Chain) -> Result<Option<(usize, bool)>, Nonsense> {
    let mut bytes = [0; CONTROL_LEN];
    chain.read_at(0, &mut bytes)?;
    let [p0, p1, p2, p3, e0, e1, v0, v1] = bytes;
    let port = usize::try_from(u32::from_le_bytes([p0, p1, p2, p3])).unwrap_or(usize::MAX);
    let on = u16::from_le_bytes([v0, v1]) != 0;
    let mut state = shared.state();
    match u16::from_le_bytes([e0, e1]) {
        EVENT_DEVICE_READY => {
            state.set_multiport(on);
            if on {
                for index in 0..shared.port_count() {
                    state.send(index, EVENT_PORT_ADD, 1, Vec::new());
                }
            }
            Ok(None)
        }
        EVENT_PORT_READY if port < shared.port_count() => {
            state.ports[port].ready = on;
            if !on {
                return Ok(None);
            }
            if port == 0 {
                state.send(0, EVENT_CONSOLE_PORT, 1, Vec::new());
                state.send_size();
            }
            let name = &shared.names[port];
            if !name.is_empty() {
                state.send(port, EVENT_PORT_NAME, 1, name.clone().into_bytes());
            }
            if state.ports[port].host_open {
                state.send(port, EVENT_PORT_OPEN, 1, Vec::new());
            }
            Ok(None)
        }
        EVENT_PORT_OPEN if port < shared.port_count() => {
            let target = &mut state.ports[port];
            let changed = std::mem::replace(&mut target.guest_open, on) != on;
            if changed && !on && port > 0 {
                // The next program to open the port must not read what the last one was sent.
                let dropped = std::mem::take(&mut target.input).len();
                drop(state);
                shared.note_taken(port, dropped);
            }
            Ok(changed.then_some((port, on)))
        }
        // The specification knows no answer to others.
        _ => Ok(None),
    }
}
