//! Memory of a guest that came from another host and runs here, and that has not come itself: see
//! [`migration::Fetcher`].

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use ::migration::{Fetcher, FrameError, Kind};
use memory::{GuestMemory, Layer, LayerError, MissingPages, PageSet, Userfault};
use threads::Work;

use crate::sync::lock;

/// Which pages come late, and by which socket. A machine that begins as that has them come.
#[derive(Debug)]
pub struct LateMemory {
    stage: Mutex<Stage>,
}

#[derive(Debug)]
enum Stage {
    Expected {
        stream: UnixStream,
        missing: PageSet,
        userfault: Userfault,
    },
    Coming(Arc<Fetcher>),
    /// A machine that could not be made.
    Never,
}

impl LateMemory {
    #[must_use]
    pub fn new(stream: UnixStream, missing: PageSet, userfault: Userfault) -> LateMemory {
        LateMemory {
            stage: Mutex::new(Stage::Expected {
                stream,
                missing,
                userfault,
            }),
        }
    }

    /// Who has it come, once there is a machine.
    #[must_use]
    pub fn fetcher(&self) -> Option<Arc<Fetcher>> {
        match &*lock(&self.stage) {
            Stage::Coming(fetcher) => Some(Arc::clone(fetcher)),
            _ => None,
        }
    }

    /// Says that the guest could go on here, and returns once it is to.
    ///
    /// # Errors
    /// When it is not to.
    pub fn ready(&self) -> Result<(), FrameError> {
        let fetcher = self.fetcher().ok_or(FrameError::Gone)?;
        fetcher.say(Kind::Ready, &[])?;
        fetcher.wait_for_go()
    }

    /// Goes on by another socket. False where nothing is missing.
    ///
    /// # Errors
    /// When the host has no thread or descriptor left.
    pub fn go_on(&self, stream: OwnedFd) -> io::Result<bool> {
        let Some(fetcher) = self.fetcher() else {
            return Ok(false);
        };
        let Some(connection) = fetcher.go_on(stream.into())? else {
            return Ok(false);
        };
        threads::spawn(Work::Pager, "late pages", move || fetcher.take(&connection))?;
        Ok(true)
    }

    /// Makes `memory`, which nobody has touched, what `layers` hold and what comes late.
    pub(crate) fn begin(&self, memory: &GuestMemory, layers: &[Layer]) -> Result<(), LayerError> {
        let expected = std::mem::replace(&mut *lock(&self.stage), Stage::Never);
        let Stage::Expected {
            stream,
            missing,
            userfault,
        } = expected
        else {
            return Err(LayerError::Tell(io::ErrorKind::AlreadyExists.into()));
        };
        let missing = memory.map_layers_without(layers, missing, userfault)?;
        let fetcher = start(stream, missing).map_err(LayerError::Tell)?;
        *lock(&self.stage) = Stage::Coming(fetcher);
        Ok(())
    }
}

/// Begins to have it come. What faults take of the host's kernel, a pager's thread alone may ask for.
fn start(stream: UnixStream, missing: MissingPages) -> io::Result<Arc<Fetcher>> {
    let (tell, told) = channel();
    threads::spawn(Work::Pager, "page faults", move || {
        let made = missing.begin();
        let made = made.and_then(|()| Fetcher::new(stream, missing).map(Arc::new));
        let fetcher = made.as_ref().ok().cloned();
        let _ = tell.send(made);
        if let Some(fetcher) = fetcher {
            fetcher.hear_faults();
        }
    })?;
    let made = told.recv();
    let fetcher = made.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))??;
    let (connection, taker) = (fetcher.first()?, Arc::clone(&fetcher));
    threads::spawn(Work::Pager, "late pages", move || taker.take(&connection))?;
    Ok(fetcher)
}
