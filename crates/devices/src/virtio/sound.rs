//! Virtio sound: a stream that plays, and one that records silence.
//!
//! Time is the machine's clock, as for the card of the old world. A message stays in its queue until as much time has
//! gone by as its frames are good for: the queue is all the buffer that there is, so nothing of the guest's is held
//! here, and what is saved is how far the first message has come. While something moves, the worker looks when the
//! first message should be at its end, or ten milliseconds later. A stream that has no message waits for the driver to
//! notify it; the time until then does not count.
//!
//! There are no jacks, channel maps or control elements, and so nothing ever happens that the event queue would tell.
//! Spec: VIRTIO 1.2, "Sound Device".

mod control;
mod pcm;
mod stream;

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::ports::locked;
use crate::sound::Wave;
use crate::virtio::{Backend, Doorbell, Next, Nonsense, Ring, VirtioDevice, WorkerPlan};
use crate::{Clock, DeviceState, decode_state, encode_state};

use stream::{INPUT, OUTPUT, Stream, StreamState};

const KIND: &str = "virtio-sound";
const VERSION: u16 = 1;
const ID: u16 = 25;
/// Multimedia, audio.
const CLASS: u32 = 0x04_01_00;
/// Of each stream's queue.
const STREAM_QUEUE: u16 = 256;
/// Control, events, what is played, what is recorded.
const QUEUE_SIZES: [u16; 4] = [64, 64, STREAM_QUEUE, STREAM_QUEUE];
const CONTROL: usize = 0;
const STREAMS: usize = 2;
/// Of jacks, streams and channel maps.
const COUNTS: [u32; 3] = [0, 2, 0];

#[derive(Debug, Serialize, Deserialize)]
struct SoundStateV1 {
    streams: [StreamState; STREAMS],
}

#[derive(Debug)]
pub struct Sound {
    streams: Arc<Mutex<[Stream; STREAMS]>>,
    clock: Arc<dyn Clock>,
    output: Option<Wave>,
}

impl Sound {
    /// What it plays goes to `output`, by the time of `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, output: Option<Wave>) -> Sound {
        Sound {
            streams: Arc::new(Mutex::new([Stream::new(OUTPUT), Stream::new(INPUT)])),
            clock,
            output,
        }
    }
}

impl VirtioDevice for Sound {
    fn kind(&self) -> &'static str {
        KIND
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
        QUEUE_SIZES.to_vec()
    }

    fn workers(&mut self) -> Vec<WorkerPlan> {
        let backend = SoundBackend {
            streams: Arc::clone(&self.streams),
            clock: Arc::clone(&self.clock),
            output: self.output.take(),
        };
        let waker = Doorbell::new().ok();
        let plan = waker.map(|waker| WorkerPlan {
            queues: QUEUE_SIZES.len(),
            backend: Box::new(backend),
            waker: Arc::new(waker),
            events: None,
        });
        plan.into_iter().collect()
    }

    /// `struct virtio_snd_config`.
    fn config(&self) -> Vec<u8> {
        COUNTS.map(u32::to_le_bytes).concat()
    }

    fn reset(&mut self) {
        *locked(&self.streams) = [Stream::new(OUTPUT), Stream::new(INPUT)];
    }

    fn save(&self) -> Vec<u8> {
        let streams = locked(&self.streams).each_ref().map(Stream::save);
        let encoded = encode_state(KIND, VERSION, &SoundStateV1 { streams });
        [&encoded.version.to_le_bytes()[..], &encoded.bytes].concat()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Some((version, bytes)) = bytes.split_first_chunk() else {
            return Err(format!("{} bytes of a sound card's state", bytes.len()));
        };
        let state = DeviceState {
            kind: KIND.to_owned(),
            version: u16::from_le_bytes(*version),
            bytes: bytes.to_vec(),
        };
        let state: SoundStateV1 =
            decode_state(KIND, VERSION, &state).map_err(|error| error.to_string())?;
        state.streams.iter().try_for_each(StreamState::check)?;
        let mut streams = locked(&self.streams);
        for (stream, saved) in streams.iter_mut().zip(state.streams) {
            stream.restore(saved);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SoundBackend {
    streams: Arc<Mutex<[Stream; STREAMS]>>,
    clock: Arc<dyn Clock>,
    output: Option<Wave>,
}

impl Backend for SoundBackend {
    fn start(&mut self, _features: u64) {
        let now = self.clock.now();
        for stream in locked(&self.streams).iter_mut() {
            stream.count_from(now);
        }
    }

    fn serve(&mut self, queue: usize, rings: &mut [Ring]) -> Result<Next, Nonsense> {
        let [control, _events, queues @ ..] = rings else {
            return Ok(Next::Wait);
        };
        let now = self.clock.now();
        let mut streams = locked(&self.streams);
        let mut next = Next::Wait;
        if queue == CONTROL {
            // What was due before a request is moved before it.
            for (stream, ring) in streams.iter_mut().zip(&mut *queues) {
                stream.advance(ring, now, self.output.as_mut())?;
            }
            next = control.drain(|chain| control::answer(chain, &mut streams, queues, now))?;
        }
        for (stream, ring) in streams.iter_mut().zip(queues) {
            next = next.sooner(stream.advance(ring, now, self.output.as_mut())?);
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests;
