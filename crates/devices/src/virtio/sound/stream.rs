//! A PCM stream: what its driver may do when, and how its messages are moved as time goes by.
//! Spec: VIRTIO 1.2, "PCM Command Lifecycle", "PCM I/O Messages".

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sound::Wave;
use crate::virtio::ring::Batch;
use crate::virtio::{Chain, Next, Nonsense, Ring};

use super::STREAM_QUEUE;
use super::control::Refusal;
use super::pcm::Parameters;

/// Streams, by their numbers, which are those of their directions.
pub(super) const OUTPUT: u32 = 0;
pub(super) const INPUT: u32 = 1;

/// `struct virtio_snd_pcm_xfer`, before the frames of a message.
const HEADER_LEN: u64 = 4;
/// `struct virtio_snd_pcm_status`, behind them.
const STATUS_LEN: u64 = 8;
const STATUS_OK: u32 = 0x8000;
const STATUS_IO_ERROR: u32 = 0x8003;
/// Bytes of a message that are not heard yet when it is answered.
const LATENCY: u32 = 0;

const SECOND: u64 = 1_000_000_000;
/// What is made up for at once of the time that nobody looked, in nanoseconds.
const MOST: u64 = SECOND / 2;
/// Between two looks while something moves, at least and at most.
const SOONEST_LOOK: u64 = 1_000_000;
const LATEST_LOOK: u64 = 10_000_000;
/// Frames that are moved in one piece.
const PIECE: u64 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// Messages are refused.
    Released,
    Prepared,
    Running,
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StreamState {
    phase: Phase,
    parameters: Option<Parameters>,
    /// Bytes of frames of the first message in the queue.
    moved: u64,
    /// Time that has moved nothing yet, in frames times a second's nanoseconds.
    due: u64,
    /// There was no message. Time counts again when there is one.
    starved: bool,
}

impl StreamState {
    /// # Errors
    /// With a reason, when no stream is like this.
    pub(super) fn check(&self) -> Result<(), String> {
        let possible = match self.parameters {
            Some(parameters) => parameters.is_possible(),
            None => self.phase == Phase::Released,
        };
        if possible {
            Ok(())
        } else {
            Err("a stream of impossible parameters".into())
        }
    }
}

#[derive(Debug)]
pub(super) struct Stream {
    id: u32,
    state: StreamState,
    /// Up to when it was brought.
    seen: u64,
}

/// An I/O message in its chain.
struct Message {
    stream: u32,
    /// Bytes of frames, or of room for them.
    len: u64,
    status_at: u64,
}

impl Stream {
    pub(super) fn new(id: u32) -> Stream {
        Stream {
            id,
            state: StreamState {
                phase: Phase::Released,
                parameters: None,
                moved: 0,
                due: 0,
                starved: false,
            },
            seen: 0,
        }
    }

    pub(super) fn save(&self) -> StreamState {
        self.state
    }

    pub(super) fn restore(&mut self, state: StreamState) {
        self.state = state;
    }

    /// Time before `now` does not count.
    pub(super) fn count_from(&mut self, now: u64) {
        self.seen = now;
    }

    pub(super) fn set_parameters(&mut self, parameters: Parameters) -> Result<(), Refusal> {
        self.expect(|phase| phase != Phase::Running)?;
        self.state.parameters = Some(parameters);
        self.state.phase = Phase::Released;
        Ok(())
    }

    pub(super) fn prepare(&mut self) -> Result<(), Refusal> {
        let settled = self.state.parameters.is_some();
        self.expect(|phase| settled && phase != Phase::Running)?;
        self.state.phase = Phase::Prepared;
        Ok(())
    }

    pub(super) fn start(&mut self, now: u64) -> Result<(), Refusal> {
        self.expect(|phase| matches!(phase, Phase::Prepared | Phase::Stopped))?;
        self.state.phase = Phase::Running;
        (self.state.due, self.state.starved) = (0, false);
        self.count_from(now);
        Ok(())
    }

    pub(super) fn stop(&mut self) -> Result<(), Refusal> {
        self.expect(|phase| phase == Phase::Running)?;
        self.state.phase = Phase::Stopped;
        Ok(())
    }

    /// The messages that wait are done with.
    pub(super) fn release(&mut self, ring: &mut Ring) -> Result<Result<(), Refusal>, Nonsense> {
        let refused = self.expect(|phase| matches!(phase, Phase::Prepared | Phase::Stopped));
        if refused.is_err() {
            return Ok(refused);
        }
        // Those that come meanwhile are too late.
        for _ in 0..STREAM_QUEUE {
            let Some(chain) = ring.pop()? else { break };
            let message = self.message(&chain)?;
            self.complete(ring, &chain, &message, STATUS_OK)?;
        }
        ring.signal()?;
        self.state.phase = Phase::Released;
        Ok(Ok(()))
    }

    fn expect(&self, good: impl Fn(Phase) -> bool) -> Result<(), Refusal> {
        if good(self.state.phase) {
            Ok(())
        } else {
            Err(Refusal::BadMessage)
        }
    }

    /// Brings it up to `now`: moves as much of its messages as that time is good for.
    pub(super) fn advance(
        &mut self,
        ring: &mut Ring,
        now: u64,
        mut output: Option<&mut Wave>,
    ) -> Result<Next, Nonsense> {
        self.earn(now);
        let batch = Batch::begin();
        let mut next = Next::Again;
        while next == Next::Again && !batch.is_over() {
            next = match ring.pop()? {
                Some(chain) => self.attend(ring, &chain, output.as_deref_mut())?,
                None if ring.want_notifications()? => Next::Again,
                None => {
                    (self.state.due, self.state.starved) = (0, true);
                    Next::Wait
                }
            };
        }
        ring.signal()?;
        Ok(next)
    }

    /// Time has gone by up to `now`.
    fn earn(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.seen).min(MOST);
        self.count_from(now);
        if let Some(parameters) = self.running().filter(|_| !self.state.starved) {
            let rate = u64::from(parameters.rate());
            let due = self.state.due.saturating_add(elapsed * rate);
            self.state.due = due.min(MOST * rate);
        }
    }

    /// Sees to the first message of the queue: [`Next::Again`] when there is more to do at once.
    fn attend(
        &mut self,
        ring: &mut Ring,
        chain: &Chain,
        output: Option<&mut Wave>,
    ) -> Result<Next, Nonsense> {
        let message = self.message(chain)?;
        if message.stream != self.id || self.state.phase == Phase::Released {
            self.complete(ring, chain, &message, STATUS_IO_ERROR)?;
            return Ok(Next::Again);
        }
        self.state.starved = false;
        let Some(parameters) = self.running() else {
            ring.unpop();
            return Ok(Next::Wait);
        };
        self.transfer(chain, &message, parameters, output)?;
        if self.left(&message, parameters) == 0 {
            self.complete(ring, chain, &message, STATUS_OK)?;
            return Ok(Next::Again);
        }
        ring.unpop();
        Ok(self.next_look(&message, parameters))
    }

    fn running(&self) -> Option<Parameters> {
        let running = self.state.phase == Phase::Running;
        self.state.parameters.filter(|_| running)
    }

    /// What is in the chain. One that has no room for its answer is nonsense.
    fn message(&self, chain: &Chain) -> Result<Message, Nonsense> {
        let mut stream = [0; 4];
        chain.read_at(0, &mut stream)?;
        let status_at = chain.writable_len().checked_sub(STATUS_LEN);
        let status_at = status_at.ok_or(Nonsense::Short)?;
        let len = match self.id {
            OUTPUT => chain.readable_len() - HEADER_LEN,
            _ => status_at,
        };
        Ok(Message {
            stream: u32::from_le_bytes(stream),
            len,
            status_at,
        })
    }

    /// Frames of the first message that are still to be moved.
    fn left(&self, message: &Message, parameters: Parameters) -> u64 {
        let bytes = message.len.saturating_sub(self.state.moved);
        bytes / parameters.frame_len() as u64
    }

    /// Moves a piece of the first message, if one is due.
    fn transfer(
        &mut self,
        chain: &Chain,
        message: &Message,
        parameters: Parameters,
        output: Option<&mut Wave>,
    ) -> Result<(), Nonsense> {
        let frames = (self.state.due / SECOND).min(PIECE);
        let frames = frames.min(self.left(message, parameters));
        if frames == 0 {
            return Ok(());
        }
        let mut bytes = parameters.silence(frames as usize * parameters.frame_len());
        if self.id == OUTPUT {
            chain.read_at(HEADER_LEN + self.state.moved, &mut bytes)?;
            let frames = parameters.frames(&bytes);
            if let Some(output) = output {
                output.play(parameters.rate(), &frames);
            }
        } else {
            chain.write_at(self.state.moved, &bytes)?;
        }
        self.state.moved += bytes.len() as u64;
        self.state.due -= frames * SECOND;
        Ok(())
    }

    /// When the first message should be at its end, or something of it should have been heard.
    fn next_look(&self, message: &Message, parameters: Parameters) -> Next {
        if self.state.due >= SECOND {
            return Next::Again;
        }
        let rate = u64::from(parameters.rate());
        let frames = self.left(message, parameters).min(rate);
        let wait = (frames * SECOND - self.state.due).div_ceil(rate);
        Next::After(Duration::from_nanos(wait.clamp(SOONEST_LOOK, LATEST_LOOK)))
    }

    /// Answers the first message of the queue.
    fn complete(
        &mut self,
        ring: &mut Ring,
        chain: &Chain,
        message: &Message,
        status: u32,
    ) -> Result<(), Nonsense> {
        let answer = [status, LATENCY].map(u32::to_le_bytes).concat();
        chain.write_at(message.status_at, &answer)?;
        let moved = std::mem::take(&mut self.state.moved);
        let recorded = if self.id == INPUT { moved } else { 0 };
        let written = recorded.saturating_add(STATUS_LEN);
        ring.complete(chain, u32::try_from(written).unwrap_or(u32::MAX))
    }
}
