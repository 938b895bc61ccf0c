//! The thread that has commands done, and what it shares with the registers.
//!
//! There is one command at a time, so what is wanted are a few flags rather than a queue: nothing that a guest
//! writes makes it longer. A machine reset does not wait for a command under way; its answer goes nowhere.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::backend::{
    Backend, Blobs, FAILURE, HEADER, STARTUP_CLEAR, STARTUP_STATE, TpmError, WRONG_SIZE, code,
    length,
};
use super::{BUFFER_LEN, Registers};
use crate::ports::locked;
use crate::virtio::Doorbell;

/// How long a save waits for a command. Then that fails.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// For a command to fail, once it is to.
const HURRY: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 2 });

/// Which startup the machine itself sends, as firmware does.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Startup {
    /// None: whoever the machine starts does.
    #[default]
    Guest,
    /// Goes on where a shutdown left off.
    State,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) registers: Registers,
    pub(super) startup: Startup,
    /// A command that nobody has begun.
    command: Option<Vec<u8>>,
    restart: bool,
    /// Something is under way, for whom it was begun: see `epoch`.
    busy: Option<u64>,
    /// Counts resets.
    epoch: u64,
    /// The guest waits for an answer.
    waits: bool,
    /// Why the last save has nothing of what the TPM holds.
    unsaved: Option<TpmError>,
    end: bool,
}

impl State {
    pub(super) fn started(&self) -> bool {
        self.waits
    }

    /// Takes the command from the buffer.
    pub(super) fn start(&mut self) {
        let buffer = &self.registers.buffer;
        let header = buffer.first_chunk::<HEADER>();
        let length = header.and_then(|header| length(*header));
        match length.and_then(|length| buffer.get(..length)) {
            Some(command) => {
                self.command = Some(command.to_vec());
                self.waits = true;
            }
            None => self.answer(&WRONG_SIZE),
        }
    }

    pub(super) fn restart(&mut self) {
        self.command = None;
        self.restart = true;
        self.waits = false;
        self.startup = Startup::Guest;
        self.epoch += 1;
    }

    fn answer(&mut self, answer: &[u8]) {
        let buffer = &mut self.registers.buffer;
        let answer = if answer.len() <= buffer.len() {
            answer
        } else {
            &FAILURE
        };
        // What is left of the command is nobody's business.
        buffer.fill(0);
        buffer[..answer.len()].copy_from_slice(answer);
        self.waits = false;
    }

    fn is_settled(&self) -> bool {
        self.busy.is_none() && !self.has_work()
    }

    fn has_work(&self) -> bool {
        self.command.is_some() || self.restart || self.startup != Startup::Guest
    }
}

/// What the worker is to do.
struct Job {
    restart: bool,
    startup: Startup,
    command: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    news: Condvar,
    /// Locked before the state, where both are.
    backend: Mutex<Box<dyn Backend>>,
    hurry: Doorbell,
}

impl Shared {
    pub(super) fn new(backend: Box<dyn Backend>, hurry: Doorbell) -> Shared {
        Shared {
            state: Mutex::default(),
            news: Condvar::new(),
            backend: Mutex::new(backend),
            hurry,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// Something was changed that somebody may wait for.
    pub(super) fn changed(&self) {
        self.news.notify_all();
    }

    /// The worker's thread, to its end.
    pub(super) fn run(&self) {
        while let Some(job) = self.next() {
            self.work(job);
        }
        locked(&self.backend).power_off();
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.end {
                return None;
            }
            if state.has_work() {
                state.busy = Some(state.epoch);
                return Some(Job {
                    restart: std::mem::take(&mut state.restart),
                    startup: std::mem::take(&mut state.startup),
                    command: state.command.take(),
                });
            }
            state = self
                .news
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn work(&self, job: Job) {
        let mut backend = locked(&self.backend);
        if job.restart {
            // Commands that come then tell of it.
            let _ = backend.power_on();
        }
        if job.startup == Startup::State {
            self.go_on(&mut **backend);
        }
        let answer = job.command.map(|command| {
            let answer = backend.execute(&command, &self.hurry);
            answer
                .ok()
                .filter(|answer| answer.len() <= BUFFER_LEN)
                .unwrap_or_else(|| FAILURE.to_vec())
        });
        drop(backend);
        let mut state = self.state();
        let begun = state.busy.take();
        if let Some(answer) = answer
            && begun == Some(state.epoch)
        {
            state.answer(&answer);
        }
        drop(state);
        self.changed();
    }

    /// What was there before the power went off, if the guest asked for that to be kept.
    fn go_on(&self, backend: &mut dyn Backend) {
        let answer = backend.execute(&STARTUP_STATE, &self.hurry);
        if answer.ok().as_deref().and_then(code) != Some(0) {
            let _ = backend.execute(&STARTUP_CLEAR, &self.hurry);
        }
    }

    /// Waits until nothing is under way; a command that takes too long fails. Answers whether that helped.
    pub(super) fn settle(&self) -> bool {
        if self.wait(PATIENCE) {
            return true;
        }
        self.hurry.ring();
        let settled = self.wait(HURRY);
        self.hurry.take();
        settled
    }

    fn wait(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.state();
        while !state.is_settled() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.news.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub(super) fn save(&self) -> (Registers, Option<Blobs>) {
        self.settle();
        let mut state = self.state();
        if state.waits {
            // Whoever does it is stuck: to who goes on as this, it has failed.
            state.answer(&FAILURE);
            state.command = None;
            state.epoch += 1;
        }
        let registers = state.registers.clone();
        let is_settled = state.is_settled();
        drop(state);
        let blobs = if is_settled {
            locked(&self.backend).save()
        } else {
            // It is held by one that is stuck.
            Err(TpmError::Late)
        };
        let (blobs, unsaved) = match blobs {
            Ok(blobs) => (Some(blobs), None),
            Err(error) => (None, Some(error)),
        };
        self.state().unsaved = unsaved;
        (registers, blobs)
    }

    /// Of the last save.
    pub(super) fn saved(&self) -> Result<(), TpmError> {
        self.state().unsaved.clone().map_or(Ok(()), Err)
    }

    pub(super) fn restore(&self, registers: Registers, blobs: &Blobs) -> Result<(), TpmError> {
        if !self.settle() {
            // The TPM is held by one that is stuck.
            return Err(TpmError::Late);
        }
        locked(&self.backend).restore(blobs)?;
        let mut state = self.state();
        state.registers = registers;
        state.waits = false;
        state.epoch += 1;
        Ok(())
    }

    pub(super) fn end(&self) {
        self.state().end = true;
        self.hurry.ring();
        self.changed();
    }
}
