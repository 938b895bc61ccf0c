//! The thread that sends a guest.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::migration::{
    CHUNK, Convergence, FrameError, Kind, Otherwise, Round, Sender, Tracked, Verdict, Way, frame,
};
use block::BlockDevice;
use memory::{GuestMemory, RamRange};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Rest;
use super::progress::{MigrationPhase, Shared};
use crate::MachineError;
use crate::choice::chain;
use crate::control::MachineControl;
use crate::sync::{lock, wait};

/// Bytes between two looks at what the target says, and at whether somebody has had enough.
const PIECE: u64 = 8 << 20;
/// What of disks may be left when memory's turn comes.
const FEW_CHUNKS: usize = 256;

/// How a guest is to be sent.
#[derive(Debug, Clone)]
pub struct MigrationOrder {
    /// By number, the disks whose content goes along. What others hold, the target finds by itself.
    pub copied: Vec<usize>,
    /// What the guest may stand still for while the rest is sent.
    pub pause: Duration,
    /// A guest that writes faster than it can be sent may be slowed down.
    pub slows: bool,
    /// Instead, it begins there before all of its memory has come.
    pub post_copy: bool,
    pub compress: bool,
}

impl MigrationOrder {
    fn otherwise(&self) -> Otherwise {
        match (self.post_copy, self.slows) {
            (true, _) => Otherwise::PostCopy,
            (false, true) => Otherwise::SlowDown,
            (false, false) => Otherwise::Nothing,
        }
    }
}

pub(super) struct Outgoing {
    pub(super) control: MachineControl,
    pub(super) shared: Arc<Shared>,
    pub(super) stream: UnixStream,
    pub(super) order: MigrationOrder,
}

/// Why nothing is sent any more.
pub(super) enum Over {
    Failed(String),
    /// Somebody else has said why.
    Told,
}

impl From<FrameError> for Over {
    fn from(error: FrameError) -> Over {
        Over::Failed(chain(&error))
    }
}

impl From<MachineError> for Over {
    fn from(error: MachineError) -> Over {
        Over::Failed(chain(&error))
    }
}

/// The target has said so.
fn refused(body: &[u8]) -> Over {
    let reason = String::from_utf8_lossy(body).chars().take(1000).collect();
    FrameError::Refused(reason).into()
}

/// What is sent, and from where.
pub(super) struct Subject {
    pub(super) memory: GuestMemory,
    disks: Vec<Arc<Tracked>>,
}

/// What the guest had written by the last look, and was not sent.
pub(super) struct Left {
    pub(super) pages: Vec<RamRange>,
    pub(super) chunks: Vec<(u32, u64)>,
    /// The guest does not wait for its memory to come.
    post_copy: bool,
}

impl Outgoing {
    pub(super) fn run(mut self) {
        let began = Instant::now();
        let ended = self.send().map_err(|over| match over {
            Over::Failed(_) => self.last_word().unwrap_or(over),
            Over::Told => over,
        });
        self.control.slow_down(0);
        if let Err(Over::Failed(reason)) = ended {
            self.shared.fail(&reason);
        }
        // Others have it as well, and the other side is to hear that this was all.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let (phase, was_paused) = {
            let mut progress = lock(&self.shared.progress);
            progress.took = began.elapsed();
            (progress.phase, progress.was_paused)
        };
        if matches!(phase, MigrationPhase::Failed | MigrationPhase::Cancelled) {
            let stopped = lock(&self.shared.rest).take().is_some();
            if stopped {
                let held = self
                    .control
                    .aside(false, crate::machine::Machine::hold_disks);
                if held.is_some() && !was_paused {
                    self.control.resume();
                }
            }
        }
        // A machine that is gone logs nothing.
        let _ = self.control.aside(false, |machine| {
            for (_, disk) in machine.peripherals.tracked() {
                disk.track(false);
            }
            machine.log_writes(false)
        });
    }

    fn send(&mut self) -> Result<(), Over> {
        let copied = self.order.copied.clone();
        let gone = || Over::Failed("the guest has ended".into());
        let subject = self.control.aside(false, move |machine| Subject {
            memory: machine.memory().clone(),
            disks: copied
                .iter()
                .filter_map(|number| {
                    let mut tracked = machine.peripherals.tracked();
                    tracked.find_map(|(index, disk)| (index == *number).then(|| Arc::clone(disk)))
                })
                .collect(),
        });
        let subject = subject.ok_or_else(gone)?;
        if subject.disks.len() != self.order.copied.len() {
            return Err(Over::Failed(
                "a disk of the old kind cannot be copied".into(),
            ));
        }
        let sizes: Vec<u64> = subject.disks.iter().map(|disk| disk.len()).collect();
        {
            let mut progress = lock(&self.shared.progress);
            progress.disks = sizes.iter().sum();
            progress.memory = subject.memory.mapped_ranges().iter().map(|it| it.len).sum();
            progress.left = progress.disks + progress.memory;
        }
        let stream = self.stream.try_clone();
        let stream = stream.map_err(|error| Over::Failed(error.to_string()))?;
        let way = Way {
            compress: self.order.compress,
            post_copy: self.order.post_copy,
        };
        let mut sender = Sender::begin(stream, subject.memory.clone(), sizes, way)?;
        self.send_disks(&mut sender, &subject)?;
        let logs = self
            .control
            .aside(false, |machine| machine.log_writes(true));
        logs.ok_or_else(gone)??;
        let left = self.send_memory(&mut sender, &subject)?;
        let Some((rest, about)) = self.wait_for_stop() else {
            return Err(Over::Told);
        };
        if left.post_copy {
            return self.post_copy(&mut sender, &subject, &left, &rest, &about);
        }
        self.hand_over(&mut sender, &subject, &left, rest, &about)
    }

    /// All of them, and then what is written meanwhile, until that is little.
    fn send_disks(&self, sender: &mut Sender<UnixStream>, subject: &Subject) -> Result<(), Over> {
        for (number, disk) in (0..).zip(&subject.disks) {
            disk.track(true);
            for chunk in 0..disk.len().div_ceil(CHUNK) {
                sender.chunk(number, &**disk, chunk, true)?;
                if chunk % (PIECE / CHUNK) == 0 {
                    self.look(sender, None)?;
                }
            }
        }
        let mut before = usize::MAX;
        loop {
            let written = take_chunks(subject);
            let count = written.len();
            self.send_chunks(sender, subject, &written)?;
            sender.frame(Kind::Round, &[])?;
            // A guest that writes as fast as the network takes is slowed down when memory's turn comes.
            if count <= FEW_CHUNKS || count >= before {
                return Ok(());
            }
            before = count;
        }
    }

    pub(super) fn send_chunks(
        &self,
        sender: &mut Sender<UnixStream>,
        subject: &Subject,
        written: &[(u32, u64)],
    ) -> Result<(), Over> {
        for (count, (number, chunk)) in (0u64..).zip(written) {
            let disk = &subject.disks[*number as usize];
            sender.chunk(*number, &**disk, *chunk, false)?;
            if count % (PIECE / CHUNK) == 0 {
                self.look(sender, None)?;
            }
        }
        Ok(())
    }

    /// Round by round, until what is left is little.
    fn send_memory(
        &self,
        sender: &mut Sender<UnixStream>,
        subject: &Subject,
    ) -> Result<Left, Over> {
        let mut convergence = Convergence::new(self.order.pause, self.order.otherwise());
        let mut pages = subject.memory.mapped_ranges();
        let mut chunks = Vec::new();
        loop {
            let began = Instant::now();
            let covered = sender.sent().covered;
            self.send_pages(sender, &pages)?;
            self.send_chunks(sender, subject, &chunks)?;
            sender.frame(Kind::Round, &[])?;
            let sent = sender.sent().covered - covered;
            let written = self.control.aside(false, crate::machine::Machine::written);
            pages = written.ok_or_else(|| Over::Failed("the guest has ended".into()))??;
            chunks = take_chunks(subject);
            let took = began.elapsed();
            let dirtied = bytes(&pages) + chunks.len() as u64 * CHUNK;
            let verdict = convergence.after(Round {
                sent,
                took,
                dirtied,
            });
            {
                let mut progress = lock(&self.shared.progress);
                progress.rounds = convergence.rounds();
                progress.left = dirtied;
                let micros = took.as_micros().max(1);
                let rate = u128::from(dirtied) * 1_000_000 / micros;
                progress.dirty_rate = u64::try_from(rate).unwrap_or(u64::MAX);
                if let Verdict::Again { slowed } = verdict {
                    progress.slowed = slowed;
                }
            }
            if let Verdict::Again { slowed } = verdict {
                self.control.slow_down(slowed);
                continue;
            }
            return Ok(Left {
                pages,
                chunks,
                post_copy: verdict == Verdict::PostCopy,
            });
        }
    }

    pub(super) fn send_pages(
        &self,
        sender: &mut Sender<UnixStream>,
        pages: &[RamRange],
    ) -> Result<(), Over> {
        let mut left = bytes(pages);
        for range in pages {
            let mut at = 0;
            while at < range.len {
                let len = PIECE.min(range.len - at);
                let base = memory::Gpa(range.base.0 + at);
                sender.pages(RamRange { base, len })?;
                at += len;
                left -= len;
                self.look(sender, Some(left))?;
            }
        }
        Ok(sender.flush_pages()?)
    }

    /// Whether somebody has had enough of it, here or there.
    fn look(&self, sender: &mut Sender<UnixStream>, left: Option<u64>) -> Result<(), Over> {
        {
            let mut progress = lock(&self.shared.progress);
            if progress.phase.is_over() {
                return Err(Over::Told);
            }
            progress.sent = sender.sent();
            if let Some(left) = left {
                progress.left = left;
            }
        }
        let mut fds = [PollFd::new(&self.stream, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        if poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0) {
            // Before it has all, a target has nothing to say but that.
            self.expect(Kind::Refused)?;
        }
        Ok(())
    }

    /// Why the target has gone, if it has said so: that may lie there when it hears nothing any more.
    fn last_word(&self) -> Option<Over> {
        let mut fds = [PollFd::new(&self.stream, PollFlags::IN)];
        let now = Timespec::default();
        let said = poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0);
        let mut body = Vec::new();
        match said.then(|| frame::read(&mut &self.stream, &mut body)) {
            Some(Ok(Kind::Refused)) => Some(refused(&body)),
            _ => None,
        }
    }

    /// The next frame of the target.
    fn expect(&self, wanted: Kind) -> Result<(), Over> {
        let mut body = Vec::new();
        let found = frame::read(&mut &self.stream, &mut body)?;
        if found == Kind::Refused {
            return Err(refused(&body));
        }
        match found == wanted {
            true => Ok(()),
            false => Err(FrameError::Nonsense("it says what is for another time").into()),
        }
    }

    /// Until somebody has stopped the guest.
    fn wait_for_stop(&self) -> Option<(Rest, Vec<u8>)> {
        if !self.shared.enter(MigrationPhase::Converged) {
            return None;
        }
        let mut about = lock(&self.shared.about);
        loop {
            if lock(&self.shared.progress).phase.is_over() {
                return None;
            }
            if let Some(about) = about.take() {
                return lock(&self.shared.rest)
                    .as_ref()
                    .map(Rest::copy)
                    .map(|it| (it, about));
            }
            about = wait(&self.shared.changed, about);
        }
    }

    fn hand_over(
        &self,
        sender: &mut Sender<UnixStream>,
        subject: &Subject,
        left: &Left,
        rest: Rest,
        about: &[u8],
    ) -> Result<(), Over> {
        if !self.shared.enter(MigrationPhase::Stopped) {
            return Err(Over::Told);
        }
        self.send_pages(sender, &left.pages)?;
        self.send_pages(sender, &rest.pages)?;
        self.send_chunks(sender, subject, &left.chunks)?;
        let chunks = take_chunks(subject);
        self.send_chunks(sender, subject, &chunks)?;
        sender.parts(Kind::State, &rest.state)?;
        sender.parts(Kind::About, about)?;
        sender.frame(Kind::End, &[])?;
        self.expect(Kind::Ready)?;
        // From here on nobody cancels it any more.
        if !self.shared.enter(MigrationPhase::HandedOver) {
            return Err(Over::Told);
        }
        sender.frame(Kind::Go, &[])?;
        self.expect(Kind::Running)?;
        {
            let mut progress = lock(&self.shared.progress);
            progress.sent = sender.sent();
            progress.left = 0;
            progress.downtime = Some(rest.began.elapsed());
        }
        self.shared.enter(MigrationPhase::Completed);
        Ok(())
    }
}

fn bytes(pages: &[RamRange]) -> u64 {
    pages.iter().map(|range| range.len).sum()
}

pub(super) fn take_chunks(subject: &Subject) -> Vec<(u32, u64)> {
    let disks = (0..).zip(&subject.disks);
    let chunks = disks.map(|(number, disk)| {
        let written = disk.take_written().into_iter();
        written
            .map(move |chunk| (number, chunk))
            .collect::<Vec<_>>()
    });
    chunks.flatten().collect()
}
