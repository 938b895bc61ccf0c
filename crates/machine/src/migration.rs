//! A guest that runs, on its way to another host: what is sent when, and who has the guest.
//!
//! See the crate `migration` for the protocol. A thread sends; between its rounds the machine is stopped for the
//! blink in which the dirty log is taken, so that no vCPU writes by what it knew of the log before. Whoever
//! ordered the migration hears of its phases by a descriptor, and says when the guest may be stopped.

mod late;
mod outgoing;
mod post_copy;
mod progress;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

pub use late::LateMemory;
pub use outgoing::MigrationOrder;
pub use progress::{MigrationPhase, MigrationProgress};

use crate::control::MachineControl;
use crate::error::MachineError;
use crate::machine::Machine;
use crate::sync::lock;
use outgoing::Outgoing;
use progress::Shared;

/// How long a target that has lost its source takes to let go of what it had opened.
const GIVING_BACK: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(10);

/// A handle to a migration: for whoever ordered it.
#[derive(Debug)]
pub struct Migration {
    shared: Arc<Shared>,
    control: MachineControl,
    stream: UnixStream,
}

/// The guest stands still, and this is what is not sent yet.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) state: Vec<u8>,
    pub(crate) pages: Vec<memory::RamRange>,
    pub(crate) began: std::time::Instant,
}

impl Rest {
    fn copy(&self) -> Rest {
        Rest {
            state: self.state.clone(),
            pages: self.pages.clone(),
            began: self.began,
        }
    }
}

impl MachineControl {
    /// Begins to send the guest by a Unix socket, whose timeouts say how long the guest stands still for a host
    /// that does not answer. It runs on.
    ///
    /// # Errors
    /// When the host has no thread or descriptor left.
    pub fn migrate(&self, stream: OwnedFd, order: MigrationOrder) -> io::Result<Migration> {
        let stream = UnixStream::from(stream);
        let shared = Arc::new(Shared::new()?);
        let outgoing = Outgoing {
            control: self.clone(),
            shared: Arc::clone(&shared),
            stream: stream.try_clone()?,
            order,
        };
        threads::spawn(threads::Work::Device, "migration", move || outgoing.run())?;
        Ok(Migration {
            shared,
            control: self.clone(),
            stream,
        })
    }
}

impl Migration {
    /// Readable once the phase has changed, until [`Migration::progress`] is asked.
    #[must_use]
    pub fn news(&self) -> &OwnedFd {
        &self.shared.news
    }

    #[must_use]
    pub fn progress(&self) -> MigrationProgress {
        self.shared.hear();
        lock(&self.shared.progress).clone()
    }

    /// In [`MigrationPhase::Converged`]: stops the guest. False where it has ended, or the migration has.
    ///
    /// # Errors
    /// When the guest cannot be saved: it then goes on, and the migration has failed.
    pub fn stop(&self) -> Result<bool, MachineError> {
        if lock(&self.shared.progress).phase != MigrationPhase::Converged {
            return Ok(false);
        }
        let began = std::time::Instant::now();
        lock(&self.shared.progress).was_paused = self.control.is_paused();
        let Some(rest) = self.control.aside(true, move |machine| machine.rest(began)) else {
            self.shared.fail("the guest has ended");
            return Ok(false);
        };
        match rest {
            Ok(rest) => {
                *lock(&self.shared.rest) = Some(rest);
                Ok(true)
            }
            Err(error) => {
                self.shared.fail(&crate::choice::chain(&error));
                self.control.aside(false, Machine::hold_disks);
                if !lock(&self.shared.progress).was_paused {
                    self.control.resume();
                }
                Err(error)
            }
        }
    }

    /// After [`Migration::stop`]: sends the rest, and `about`, which whoever goes on with the guest knows then.
    pub fn finish(&self, about: Vec<u8>) {
        *lock(&self.shared.about) = Some(about);
        self.shared.changed.notify_all();
    }

    /// Ends the migration; the guest goes on here. False where it is too late for that.
    #[must_use]
    pub fn cancel(&self) -> bool {
        let cancelled = self.shared.cancel();
        if cancelled {
            let _ = self.stream.shutdown(std::net::Shutdown::Both);
        }
        cancelled
    }

    /// The guest was handed over, and nobody knows whether it arrived: somebody found out that it did not, and
    /// never will. It goes on here. False where nothing is in doubt.
    #[must_use]
    pub fn take_back(&self) -> bool {
        let doubted = self.shared.settle(MigrationPhase::Failed);
        if doubted {
            self.control.aside(false, Machine::hold_disks);
            self.control.resume();
        }
        doubted
    }

    /// Goes on by another socket, of which the same holds as of the first, where a part of the guest's memory is
    /// here. False where none is wanted.
    #[must_use]
    pub fn go_on(&self, stream: OwnedFd) -> bool {
        self.shared.go_on(stream.into())
    }

    /// Likewise: it runs there, and lacks nothing.
    #[must_use]
    pub fn give_up(&self) -> bool {
        self.shared.settle(MigrationPhase::Completed)
    }
}

impl Machine {
    /// While nothing of the guest runs.
    fn rest(&mut self, began: std::time::Instant) -> Result<Rest, MachineError> {
        self.settle_outside()?;
        for disk in self.peripherals.disks() {
            // Where the target finds it too, it is the target's to open from now on.
            disk.hold(false).map_err(|source| MachineError::Flush {
                disk: disk.identify(),
                source,
            })?;
        }
        let state = self.save()?.to_bytes()?;
        let synced = self.engine.sync_dirty_log();
        synced.map_err(|source| self.engine_error(source))?;
        let mut pages = self.memory().take_dirty_ranges();
        // What was written there by another address is in no log.
        pages.extend(self.memory().shared_ranges());
        Ok(Rest {
            state,
            pages,
            began,
        })
    }

    /// The guest goes on here. Whoever had begun to be the target may just be ending.
    fn hold_disks(&mut self) {
        let until = std::time::Instant::now() + GIVING_BACK;
        for disk in self.peripherals.disks() {
            // A lock is for those who do not know better: the guest is here, whoever has it.
            while disk.hold(true).is_err() && std::time::Instant::now() < until {
                std::thread::sleep(LOOK);
            }
        }
    }

    fn log_writes(&mut self, on: bool) -> Result<(), MachineError> {
        let logs = self.engine.set_dirty_log(on);
        logs.map_err(|source| self.engine_error(source))?;
        self.memory().set_dirty_log(on);
        Ok(())
    }

    fn written(&mut self) -> Result<Vec<memory::RamRange>, MachineError> {
        let synced = self.engine.sync_dirty_log();
        synced.map_err(|source| self.engine_error(source))?;
        Ok(self.memory().take_dirty_ranges())
    }
}
