//! Virtio GPU, of two dimensions: the guest draws in its own memory, says what of it is done, and
//! shows it; the monitor may become another while it runs.
//!
//! With a VGA in the same function (`virtio-vga`), the screen is the VGA's until a driver shows
//! something by commands, and again when that driver resets the device: so firmware, boot loaders and
//! kernels without the driver have a screen, and nothing appears twice.
//!
//! A picture has its pixels here, as the specification has it: the guest goes on drawing in its memory
//! while what it last transferred is shown. A flush draws nothing. It notes which part is done, and
//! whoever looks next draws that, once: a guest that flushes without end costs no more than its
//! transfers do. All that a guest can have here is bounded (`desk.rs`).
//! Spec: VIRTIO 1.2, "GPU Device".

mod command;
mod cursor;
mod desk;
mod resource;
mod saved;
mod scanout;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use display::Picture;
use memory::GuestMemory;

use crate::ports::locked;
use crate::vga::Face;
use crate::virtio::{Backend, Doorbell, Next, Nonsense, Ring, VirtioDevice, WorkerPlan};
use crate::{DeviceState, decode_state, encode_state};

use command::Command;
pub use cursor::Cursor;
use desk::Desk;
use saved::GpuStateV1;

const KIND: &str = "virtio-gpu";
const VERSION: u16 = 1;
const ID: u16 = 16;
/// Display controllers: a VGA's, and others.
const CLASS_VGA: u32 = 0x03_00_00;
const CLASS_OTHER: u32 = 0x03_80_00;
const CONTROL_QUEUE: u16 = 256;
const CURSOR_QUEUE: u16 = 16;
const QUEUES: usize = 2;

const F_EDID: u64 = 1 << 1;
/// Of the events in the configuration: the monitor is another.
const EVENT_DISPLAY: u32 = 1 << 0;
/// Where the driver says that it has heard of events.
const EVENTS_CLEAR: u64 = 4;

#[derive(Debug)]
struct Shared {
    desk: Mutex<Desk>,
    /// What the driver has not heard of.
    events: AtomicU32,
    /// The worker has not told it yet.
    news: AtomicBool,
    waker: Arc<Doorbell>,
    /// A driver has taken the device.
    used: AtomicBool,
}

/// The host's end: what is shown, and how large it shall be.
#[derive(Debug, Clone)]
pub struct GpuHandle {
    shared: Arc<Shared>,
}

impl GpuHandle {
    /// The monitor has another size that it likes best, and the driver hears of it. False where there is
    /// no driver to take it up.
    #[must_use]
    pub fn resize(&self, width: u16, height: u16) -> bool {
        locked(&self.shared.desk).wish(width, height);
        self.shared.events.fetch_or(EVENT_DISPLAY, Ordering::AcqRel);
        self.shared.news.store(true, Ordering::Release);
        self.shared.waker.ring();
        self.shared.used.load(Ordering::Acquire)
    }

    /// Brings a picture up to date, `afresh` where it showed something else before. False where no
    /// driver shows anything: then the screen is the VGA's.
    pub fn draw(&self, afresh: bool, to: &mut Picture) -> bool {
        locked(&self.shared.desk).draw(afresh, to)
    }

    /// The pointer; `None` where it looks as it did with that number.
    #[must_use]
    pub fn cursor(&self, known: Option<u64>) -> Option<Cursor> {
        let desk = locked(&self.shared.desk);
        (known != Some(desk.cursor.number)).then(|| desk.cursor.clone())
    }
}

#[derive(Debug)]
pub struct Gpu {
    shared: Arc<Shared>,
    memory: GuestMemory,
    face: Option<Face>,
}

impl Gpu {
    /// With a monitor that likes `preferred` best, and a VGA beside it or none.
    ///
    /// # Errors
    /// When the host has no descriptor left.
    pub fn new(
        memory: GuestMemory,
        preferred: (u16, u16),
        face: Option<Face>,
    ) -> std::io::Result<Gpu> {
        Ok(Gpu {
            shared: Arc::new(Shared {
                desk: Mutex::new(Desk::new(preferred)),
                events: AtomicU32::new(0),
                news: AtomicBool::new(false),
                waker: Arc::new(Doorbell::new()?),
                used: AtomicBool::new(false),
            }),
            memory,
            face,
        })
    }

    #[must_use]
    pub fn handle(&self) -> GpuHandle {
        GpuHandle {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl VirtioDevice for Gpu {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn id(&self) -> u16 {
        ID
    }

    fn class(&self) -> u32 {
        match self.face {
            Some(_) => CLASS_VGA,
            None => CLASS_OTHER,
        }
    }

    fn features(&self) -> u64 {
        F_EDID
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![CONTROL_QUEUE, CURSOR_QUEUE]
    }

    fn beside(&self) -> Option<&Face> {
        self.face.as_ref()
    }

    fn workers(&mut self) -> Vec<WorkerPlan> {
        vec![WorkerPlan {
            queues: QUEUES,
            backend: Box::new(GpuBackend {
                shared: Arc::clone(&self.shared),
                memory: self.memory.clone(),
            }),
            waker: Arc::clone(&self.shared.waker),
            events: None,
        }]
    }

    /// `struct virtio_gpu_config`: one scanout, no capability sets.
    fn config(&self) -> Vec<u8> {
        let events = self.shared.events.load(Ordering::Acquire);
        [events, 0, 1, 0].map(u32::to_le_bytes).concat()
    }

    fn config_write(&mut self, offset: u64, data: &[u8]) {
        if offset == EVENTS_CLEAR
            && let Ok(bytes) = data.try_into()
        {
            let heard = u32::from_le_bytes(bytes);
            self.shared.events.fetch_and(!heard, Ordering::AcqRel);
        }
    }

    fn reset(&mut self) {
        locked(&self.shared.desk).reset();
        self.shared.events.store(0, Ordering::Release);
    }

    fn power_on(&mut self) {
        if let Some(face) = &self.face {
            face.reset();
        }
    }

    fn save(&self) -> Vec<u8> {
        let events = self.shared.events.load(Ordering::Acquire);
        let face = self.face.as_ref().map(Face::save);
        let state = GpuStateV1::of(&locked(&self.shared.desk), events, face);
        let encoded = encode_state(KIND, VERSION, &state);
        [&encoded.version.to_le_bytes()[..], &encoded.bytes].concat()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Some((version, bytes)) = bytes.split_first_chunk() else {
            return Err(format!("{} bytes of a display's state", bytes.len()));
        };
        let state = DeviceState {
            kind: KIND.to_owned(),
            version: u16::from_le_bytes(*version),
            bytes: bytes.to_vec(),
        };
        let state: GpuStateV1 =
            decode_state(KIND, VERSION, &state).map_err(|error| error.to_string())?;
        let mut desk = locked(&self.shared.desk);
        let restored = state.desk(desk.cursor.number)?;
        match (&self.face, state.face) {
            (Some(face), Some(saved)) => {
                face.check(&saved)?;
                face.restore(saved);
            }
            (None, None) => {}
            _ => return Err("one of the two has a VGA beside it, and the other has none".into()),
        }
        *desk = restored;
        self.shared.events.store(state.events, Ordering::Release);
        Ok(())
    }
}

#[derive(Debug)]
struct GpuBackend {
    shared: Arc<Shared>,
    memory: GuestMemory,
}

impl Backend for GpuBackend {
    fn start(&mut self, _features: u64) {
        self.shared.used.store(true, Ordering::Release);
    }

    fn serve(&mut self, queue: usize, rings: &mut [Ring]) -> Result<Next, Nonsense> {
        let Some(ring) = rings.get_mut(queue) else {
            return Ok(Next::Wait);
        };
        if self.shared.news.swap(false, Ordering::AcqRel) {
            ring.config_changed();
        }
        ring.drain(|chain| {
            if chain.readable_len() == 0 && chain.writable_len() == 0 {
                return Ok(0);
            }
            let (header, command) = Command::read(chain)?;
            let answer = command.and_then(|command| {
                locked(&self.shared.desk).carry_out(&self.memory, chain, command)
            });
            // Commands of the pointer's queue leave no room for an answer.
            let answer = header.answer(&answer);
            if chain.writable_len() < answer.len() as u64 {
                return Ok(0);
            }
            chain.write_at(0, &answer)?;
            Ok(u32::try_from(answer.len()).unwrap_or(u32::MAX))
        })
    }

    fn reset(&mut self) {
        self.shared.used.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
