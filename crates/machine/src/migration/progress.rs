//! How a migration stands, and who may change that.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use ::migration::Sent;
use rustix::event::{EventfdFlags, eventfd};

use super::Rest;
use crate::sync::{lock, wait};

/// Where a migration is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MigrationPhase {
    /// The guest runs here, and is sent.
    #[default]
    Active,
    /// What is left can be sent while the guest stands still, as soon as whoever ordered it says so.
    Converged,
    /// The guest stands still, and the rest is sent.
    Stopped,
    /// The target was told to go on with the guest.
    HandedOver,
    /// It runs there, and a part of its memory is here.
    PostCopy,
    /// Likewise; but the connection broke, so it stands still there.
    PostCopyPaused,
    /// There is another one.
    PostCopyRecover,
    /// It runs there.
    Completed,
    /// It runs here.
    Failed,
    Cancelled,
    /// The target was told to go on with it, and nothing was heard since. It stands still here.
    InDoubt,
}

impl MigrationPhase {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            MigrationPhase::Active => "active",
            MigrationPhase::Converged => "pre-switchover",
            MigrationPhase::Stopped => "device",
            MigrationPhase::HandedOver => "handed-over",
            MigrationPhase::PostCopy => "postcopy-active",
            MigrationPhase::PostCopyPaused => "postcopy-paused",
            MigrationPhase::PostCopyRecover => "postcopy-recover",
            MigrationPhase::Completed => "completed",
            MigrationPhase::Failed => "failed",
            MigrationPhase::Cancelled => "cancelled",
            MigrationPhase::InDoubt => "in-doubt",
        }
    }

    /// Does it run there, while a part of its memory is here?
    fn is_post_copy(self) -> bool {
        matches!(
            self,
            MigrationPhase::PostCopy
                | MigrationPhase::PostCopyPaused
                | MigrationPhase::PostCopyRecover
        )
    }

    /// Is nothing going to happen any more by itself?
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(
            self,
            MigrationPhase::Completed
                | MigrationPhase::Failed
                | MigrationPhase::Cancelled
                | MigrationPhase::InDoubt
        )
    }
}

/// Figures of a migration. Bytes, unless it says otherwise.
#[derive(Debug, Clone, Default)]
pub struct MigrationProgress {
    pub phase: MigrationPhase,
    /// Why it failed.
    pub reason: Option<String>,
    pub memory: u64,
    pub disks: u64,
    /// What is known to be left to be sent, of memory and disks.
    pub left: u64,
    pub sent: Sent,
    pub rounds: u32,
    /// Hundredths of the time that the guest stands still for, so that it ends.
    pub slowed: u8,
    /// What the guest wrote in the last round, a second.
    pub dirty_rate: u64,
    /// How often somebody waited there for a page that was not there.
    pub wanted: u64,
    /// For how long the guest stood still in the end.
    pub downtime: Option<Duration>,
    pub took: Duration,
    pub(super) was_paused: bool,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) progress: Mutex<MigrationProgress>,
    pub(super) changed: Condvar,
    pub(super) rest: Mutex<Option<Rest>>,
    pub(super) about: Mutex<Option<Vec<u8>>>,
    /// Another connection, of a migration whose first one broke.
    line: Mutex<Option<UnixStream>>,
    pub(super) news: OwnedFd,
}

impl Shared {
    pub(super) fn new() -> io::Result<Shared> {
        Ok(Shared {
            progress: Mutex::default(),
            changed: Condvar::new(),
            rest: Mutex::default(),
            about: Mutex::default(),
            line: Mutex::default(),
            news: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    pub(super) fn hear(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.news, &mut count);
    }

    fn tell(&self) {
        // It fails only when nobody ever listens, and rings then.
        let _ = rustix::io::write(&self.news, &1u64.to_ne_bytes());
        // Who waits has looked at the phase under this lock: it is asleep by now, or looks again.
        drop(lock(&self.about));
        self.changed.notify_all();
    }

    /// Goes on to the next phase. False where the migration is over already.
    pub(super) fn enter(&self, phase: MigrationPhase) -> bool {
        let mut progress = lock(&self.progress);
        if progress.phase.is_over() {
            return false;
        }
        progress.phase = phase;
        drop(progress);
        self.tell();
        true
    }

    /// Likewise of one that was over, and has another connection now.
    pub(super) fn enter_again(&self, phase: MigrationPhase) {
        lock(&self.progress).phase = phase;
        self.tell();
    }

    /// Goes on by `stream`. False where no connection is wanted.
    pub(super) fn go_on(&self, stream: UnixStream) -> bool {
        let mut progress = lock(&self.progress);
        progress.phase = match progress.phase {
            MigrationPhase::PostCopyPaused => MigrationPhase::PostCopyRecover,
            // Whoever handed all of it over has let go of this.
            MigrationPhase::InDoubt if lock(&self.rest).is_none() => MigrationPhase::HandedOver,
            _ => return false,
        };
        *lock(&self.line) = Some(stream);
        drop(progress);
        self.tell();
        true
    }

    /// Until there is another connection; nothing where somebody says that none is needed.
    pub(super) fn wait_for_line(&self) -> Option<UnixStream> {
        let mut about = lock(&self.about);
        loop {
            let phase = lock(&self.progress).phase;
            if matches!(phase, MigrationPhase::Failed | MigrationPhase::Completed) {
                return None;
            }
            if let Some(stream) = lock(&self.line).take() {
                return Some(stream);
            }
            about = wait(&self.changed, about);
        }
    }

    /// What ends it before the target was told to go on leaves the guest here.
    pub(super) fn fail(&self, reason: &str) {
        let mut progress = lock(&self.progress);
        if progress.phase.is_over() {
            return;
        }
        progress.reason = Some(reason.to_owned());
        progress.phase = match progress.phase {
            MigrationPhase::HandedOver => MigrationPhase::InDoubt,
            phase if phase.is_post_copy() => MigrationPhase::PostCopyPaused,
            _ => MigrationPhase::Failed,
        };
        drop(progress);
        self.tell();
    }

    pub(super) fn cancel(&self) -> bool {
        let mut progress = lock(&self.progress);
        let phase = progress.phase;
        if phase.is_over() || phase.is_post_copy() || phase == MigrationPhase::HandedOver {
            return false;
        }
        progress.phase = MigrationPhase::Cancelled;
        progress.reason = Some("it was cancelled".to_owned());
        drop(progress);
        self.tell();
        true
    }

    pub(super) fn settle(&self, phase: MigrationPhase) -> bool {
        let mut progress = lock(&self.progress);
        // A guest that ran there is never taken back.
        let ran = progress.phase == MigrationPhase::PostCopyPaused;
        let settles = progress.phase == MigrationPhase::InDoubt
            || (ran && phase == MigrationPhase::Completed);
        if !settles {
            return false;
        }
        progress.phase = phase;
        drop(progress);
        self.tell();
        true
    }
}
