//! What the balloon's registers, its worker and the host share.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::virtio::Doorbell;
use crate::virtio::balloon::{BALLOON_PAGE, MemoryStatistics};

/// Saved as it is. All but the poison are counts of pages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BalloonStateV1 {
    /// How many the host wants.
    pub(super) target: u32,
    /// How many the driver says that it has handed over.
    pub(super) actual: u32,
    /// What the guest fills free pages with, and expects in them.
    pub(super) poison: u32,
}

/// What the host knows of a guest's memory.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct BalloonReport {
    /// Bytes that the host wants in the balloon.
    pub target: u64,
    /// Bytes that the driver says are in it.
    pub actual: u64,
    /// Bytes that have been handed back since the device was made, by balloon and by reports.
    pub returned: u64,
    /// What the guest said last of its memory, if it ever did.
    pub statistics: Option<MemoryStatistics>,
    /// How often it has said so.
    pub told: u64,
}

/// Counts since the device was made, which are not the guest's.
#[derive(Debug, Default)]
struct News {
    returned: u64,
    statistics: Option<MemoryStatistics>,
    told: u64,
    /// The host wants to hear again.
    asked: bool,
}

type Hook = Box<dyn Fn() + Send + Sync>;

pub(super) struct Shared {
    state: Mutex<BalloonStateV1>,
    news: Mutex<News>,
    waker: Option<Arc<Doorbell>>,
    changed: Mutex<Option<Hook>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("state", &self.state)
            .field("news", &self.news)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(waker: Option<Arc<Doorbell>>) -> Shared {
        Shared {
            state: Mutex::default(),
            news: Mutex::default(),
            waker,
            changed: Mutex::new(None),
        }
    }

    pub(super) fn state(&self) -> BalloonStateV1 {
        *lock(&self.state)
    }

    /// The driver wrote to the configuration, where these are its own.
    pub(super) fn driver_wrote(&self, actual: u32, poison: u32) {
        let before = {
            let mut state = lock(&self.state);
            state.poison = poison;
            std::mem::replace(&mut state.actual, actual)
        };
        if before != actual {
            self.tell();
        }
    }

    /// The driver starts anew. What the host wants stays.
    pub(super) fn driver_reset(&self) {
        self.driver_wrote(0, 0);
        let mut news = lock(&self.news);
        news.statistics = None;
        news.asked = false;
    }

    pub(super) fn returned(&self, bytes: u64) {
        let mut news = lock(&self.news);
        news.returned = news.returned.saturating_add(bytes);
    }

    pub(super) fn told(&self, statistics: MemoryStatistics) {
        let mut news = lock(&self.news);
        news.statistics = Some(statistics);
        news.told += 1;
    }

    /// Does the host want statistics? Asked once for each time that it does.
    pub(super) fn take_asked(&self) -> bool {
        std::mem::take(&mut lock(&self.news).asked)
    }

    fn tell(&self) {
        if let Some(changed) = lock(&self.changed).as_ref() {
            changed();
        }
    }

    pub(super) fn save(&self) -> Vec<u8> {
        // Three integers always serialise; an empty body is refused on restore.
        postcard::to_stdvec(&self.state()).unwrap_or_default()
    }

    pub(super) fn restore(&self, bytes: &[u8]) -> Result<(), String> {
        let state = postcard::from_bytes(bytes).map_err(|error| error.to_string())?;
        *lock(&self.state) = state;
        Ok(())
    }
}

/// The host's hand on the balloon. Any thread may use it, also after the device is gone.
#[derive(Debug, Clone)]
pub struct BalloonHandle {
    shared: Arc<Shared>,
}

impl BalloonHandle {
    pub(super) fn new(shared: Arc<Shared>) -> BalloonHandle {
        BalloonHandle { shared }
    }

    /// Asks the guest to have so many bytes in the balloon, rounded down to pages. It does what it can.
    pub fn set_target(&self, bytes: u64) {
        let pages = u32::try_from(bytes / BALLOON_PAGE).unwrap_or(u32::MAX);
        lock(&self.shared.state).target = pages;
        self.wake();
    }

    /// Asks the guest for new statistics, which it tells when it comes to it.
    pub fn ask_statistics(&self) {
        lock(&self.shared.news).asked = true;
        self.wake();
    }

    #[must_use]
    pub fn report(&self) -> BalloonReport {
        let state = self.shared.state();
        let news = lock(&self.shared.news);
        BalloonReport {
            target: u64::from(state.target) * BALLOON_PAGE,
            actual: u64::from(state.actual) * BALLOON_PAGE,
            returned: news.returned,
            statistics: news.statistics,
            told: news.told,
        }
    }

    /// `changed` is called, on some thread, when the driver says that the balloon's size is another.
    pub fn on_change(&self, changed: impl Fn() + Send + Sync + 'static) {
        *lock(&self.shared.changed) = Some(Box::new(changed));
    }

    fn wake(&self) {
        if let Some(waker) = &self.shared.waker {
            waker.ring();
        }
    }
}
