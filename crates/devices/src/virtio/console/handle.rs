//! The host's end of a console, and what it shares with the device's worker.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::virtio::Doorbell;
use crate::virtio::console::output::Output;
use crate::virtio::console::port::{INPUT_LIMIT, Port, PortState};

/// Control messages that wait for the guest's buffers. A guest that sends requests and takes no
/// answers loses answers.
const MESSAGE_LIMIT: usize = 1024;

/// Told when a program in the guest opens or closes a port: port number, open. Called on the
/// device's thread without locks held; it shall return soon.
pub type PortEvents = Box<dyn Fn(usize, bool) + Send + Sync>;

/// Told that a port that was full can take input again. Called on the device's thread: it shall only
/// wake whoever then calls [`ConsoleHandle::receive`].
pub type RoomNotice = Box<dyn Fn() + Send + Sync>;

/// A control message to the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) port: u32,
    pub(super) event: u16,
    pub(super) value: u16,
    /// What follows the fixed part: a name, a size.
    pub(super) tail: Vec<u8>,
}

pub(super) const EVENT_DEVICE_READY: u16 = 0;
pub(super) const EVENT_PORT_ADD: u16 = 1;
pub(super) const EVENT_PORT_READY: u16 = 3;
pub(super) const EVENT_CONSOLE_PORT: u16 = 4;
pub(super) const EVENT_RESIZE: u16 = 5;
pub(super) const EVENT_PORT_OPEN: u16 = 6;
pub(super) const EVENT_PORT_NAME: u16 = 7;

/// Columns and rows before anybody says otherwise.
const DEFAULT_SIZE: (u16, u16) = (80, 25);

#[derive(Debug)]
pub(super) struct State {
    pub(super) ports: Vec<PortState>,
    pub(super) messages: VecDeque<Message>,
    size: (u16, u16),
    /// The driver speaks the multiport protocol and is ready for it.
    multiport: bool,
    /// The size changed and a driver without multiport has not been told.
    pub(super) size_changed: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct ConsoleStateV1 {
    ports: Vec<PortState>,
    messages: Vec<Message>,
    size: (u16, u16),
    multiport: bool,
    size_changed: bool,
}

pub(super) struct Shared {
    state: Mutex<State>,
    /// Input was taken by the guest: there is room.
    taken: Condvar,
    pub(super) names: Vec<String>,
    pub(super) outputs: Vec<Output>,
    events: Mutex<Option<Arc<PortEvents>>>,
    room: Mutex<Option<Arc<RoomNotice>>>,
    waker: Option<Arc<Doorbell>>,
}

impl Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shared = f.debug_struct("Shared");
        shared.field("names", &self.names).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(ports: Vec<Port>, waker: Option<Arc<Doorbell>>) -> Shared {
        let (names, outputs): (Vec<_>, Vec<_>) = ports
            .into_iter()
            .map(|port| (port.name, port.output))
            .unzip();
        for output in &outputs {
            output.set_room_bell(waker.clone());
        }
        let fresh = PortState {
            host_open: true,
            ..PortState::default()
        };
        Shared {
            state: Mutex::new(State {
                ports: vec![fresh; names.len()],
                messages: VecDeque::new(),
                size: DEFAULT_SIZE,
                multiport: false,
                size_changed: false,
            }),
            taken: Condvar::new(),
            names,
            outputs,
            events: Mutex::new(None),
            room: Mutex::new(None),
            waker,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn port_count(&self) -> usize {
        self.names.len()
    }

    pub(super) fn size(&self) -> (u16, u16) {
        self.state().size
    }

    /// `count` bytes of a port's input went to the guest or were dropped. Call it without the
    /// state's lock.
    pub(super) fn note_taken(&self, port: usize, count: usize) {
        self.taken.notify_all();
        let left = self
            .state()
            .ports
            .get(port)
            .map_or(0, |port| port.input.len());
        if left + count < INPUT_LIMIT {
            return;
        }
        let room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let room = room.clone();
        if let Some(room) = room {
            room();
        }
    }

    /// Makes the worker look at all queues.
    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.ring();
        }
    }

    /// A program in the guest opened or closed a port. Call it without the state's lock.
    pub(super) fn report(&self, port: usize, open: bool) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let events = events.clone();
        if let Some(events) = events {
            events(port, open);
        }
    }

    /// The guest's driver starts anew. What the host typed stays for the next one.
    pub(super) fn driver_reset(&self) {
        let mut closed = Vec::new();
        {
            let mut state = self.state();
            state.messages.clear();
            state.multiport = false;
            state.size_changed = false;
            for (index, port) in state.ports.iter_mut().enumerate() {
                port.ready = false;
                port.sent = 0;
                if std::mem::take(&mut port.guest_open) {
                    closed.push(index);
                }
            }
        }
        for port in closed {
            self.report(port, false);
        }
    }

    pub(super) fn save(&self) -> Vec<u8> {
        let state = self.state();
        let saved = ConsoleStateV1 {
            ports: state.ports.clone(),
            messages: state.messages.iter().cloned().collect(),
            size: state.size,
            multiport: state.multiport,
            size_changed: state.size_changed,
        };
        // Plain values always serialise; an empty body is refused on restore.
        postcard::to_stdvec(&saved).unwrap_or_default()
    }

    pub(super) fn restore(&self, bytes: &[u8]) -> Result<(), String> {
        let saved: ConsoleStateV1 =
            postcard::from_bytes(bytes).map_err(|error| error.to_string())?;
        let mut state = self.state();
        if saved.ports.len() != state.ports.len() {
            return Err(format!(
                "{} ports, not {}",
                saved.ports.len(),
                state.ports.len()
            ));
        }
        let too_much = saved
            .ports
            .iter()
            .any(|port| port.input.len() > INPUT_LIMIT);
        if too_much || saved.messages.len() > MESSAGE_LIMIT {
            return Err("more waiting input than a port holds".into());
        }
        state.ports = saved.ports;
        state.messages = saved.messages.into();
        state.size = saved.size;
        state.multiport = saved.multiport;
        state.size_changed = saved.size_changed;
        Ok(())
    }
}

impl State {
    pub(super) fn send(&mut self, port: usize, event: u16, value: u16, tail: Vec<u8>) {
        if self.messages.len() < MESSAGE_LIMIT {
            self.messages.push_back(Message {
                port: u32::try_from(port).unwrap_or(u32::MAX),
                event,
                value,
                tail,
            });
        }
    }

    pub(super) fn set_multiport(&mut self, on: bool) {
        self.multiport = on;
    }

    pub(super) fn send_size(&mut self) {
        let (columns, rows) = self.size;
        let mut tail = columns.to_le_bytes().to_vec();
        tail.extend_from_slice(&rows.to_le_bytes());
        self.send(0, EVENT_RESIZE, 0, tail);
    }
}

/// The host's end of a console. Any thread may use it, also before the guest has a driver and after
/// the device is gone.
#[derive(Debug, Clone)]
pub struct ConsoleHandle {
    shared: Arc<Shared>,
}

impl ConsoleHandle {
    pub(super) fn new(shared: Arc<Shared>) -> ConsoleHandle {
        ConsoleHandle { shared }
    }

    /// Offers input to a port. Answers how many bytes were taken: less than all when the guest is
    /// slow; then [`ConsoleHandle::wait_for_room`]. A port that does not exist takes none.
    #[must_use]
    pub fn receive(&self, port: usize, bytes: &[u8]) -> usize {
        let mut state = self.shared.state();
        let Some(port) = state.ports.get_mut(port) else {
            return 0;
        };
        let accepted = bytes
            .len()
            .min(INPUT_LIMIT.saturating_sub(port.input.len()));
        port.input.extend(&bytes[..accepted]);
        drop(state);
        self.shared.wake();
        accepted
    }

    /// Waits until the port can take input. Answers whether it can.
    #[must_use]
    pub fn wait_for_room(&self, port: usize, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.state();
        loop {
            match state.ports.get(port) {
                Some(port) if port.input.len() < INPUT_LIMIT => return true,
                None => return false,
                Some(_) => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.shared.taken.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Who is told when a port that was full can take input again. Replaces who was before.
    pub fn on_room(&self, notice: RoomNotice) {
        let slot = self.shared.room.lock();
        *slot.unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(notice));
    }

    /// Tells the guest the size of the terminal behind port 0.
    pub fn resize(&self, columns: u16, rows: u16) {
        let mut state = self.shared.state();
        if state.size == (columns, rows) {
            return;
        }
        state.size = (columns, rows);
        if state.multiport {
            // Only the newest size matters to a guest that is slow to ask.
            state
                .messages
                .retain(|message| message.event != EVENT_RESIZE);
            if state.ports.first().is_some_and(|port| port.ready) {
                state.send_size();
            }
        } else {
            state.size_changed = true;
        }
        drop(state);
        self.shared.wake();
    }

    /// Opens or closes the host's end of a port, as a program in the guest sees it. Open at first.
    pub fn set_open(&self, port: usize, open: bool) {
        let mut state = self.shared.state();
        let Some(target) = state.ports.get_mut(port) else {
            return;
        };
        let changed = std::mem::replace(&mut target.host_open, open) != open;
        if changed && target.ready {
            state.send(port, EVENT_PORT_OPEN, u16::from(open), Vec::new());
        }
        drop(state);
        self.shared.wake();
    }

    /// Has a program in the guest the port open?
    #[must_use]
    pub fn guest_has_open(&self, port: usize) -> bool {
        let state = self.shared.state();
        state.ports.get(port).is_some_and(|port| port.guest_open)
    }

    /// The port with this name. The console is port 0.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.shared.names.iter().position(|known| known == name)
    }

    /// Who is told when a program in the guest opens or closes a port. Replaces who was before.
    pub fn on_port_event(&self, events: PortEvents) {
        let mut slot = self
            .shared
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = Some(Arc::new(events));
    }

    /// Waits until all that the guest has printed is written. Answers whether it is: not so when a
    /// writer is stuck for the whole of `timeout`.
    #[must_use]
    pub fn drain(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut all = true;
        for output in &self.shared.outputs {
            all &= output.drain(deadline.saturating_duration_since(Instant::now()));
        }
        all
    }
}
