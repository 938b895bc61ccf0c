//! The source's part of post-copy: the guest begins there with what it has, and what is left follows.
//!
//! Once the target was told to go on, the guest is never resumed here by itself. A connection that breaks then is
//! waited for: somebody brings another one, or says how the guest ended there.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ::migration::{FrameError, Kind, PageServer, Sender};

use super::Rest;
use super::outgoing::{Left, Outgoing, Over, Subject, take_chunks};
use super::progress::MigrationPhase;
use crate::choice::chain;
use crate::sync::lock;

/// For how long the guest stands still for a target that has to say something; and for how long one may take nothing.
const PATIENCE: Duration = Duration::from_secs(20);

impl Outgoing {
    pub(super) fn post_copy(
        &self,
        sender: &mut Sender<UnixStream>,
        subject: &Subject,
        left: &Left,
        rest: &Rest,
        about: &[u8],
    ) -> Result<(), Over> {
        if !self.shared.enter(MigrationPhase::Stopped) {
            return Err(Over::Told);
        }
        let mut missing = sender.numbers_of(&[&left.pages[..], &rest.pages].concat());
        // What is seen at several addresses is not told to be missing.
        let shared = subject.memory.shared_ranges();
        for page in sender.numbers_of(&shared).runs().into_iter().flatten() {
            missing.remove(page);
        }
        self.send_pages(sender, &shared)?;
        self.send_chunks(sender, subject, &left.chunks)?;
        self.send_chunks(sender, subject, &take_chunks(subject))?;
        sender.missing(&missing)?;
        sender.parts(Kind::State, &rest.state)?;
        sender.parts(Kind::About, about)?;
        sender.frame(Kind::End, &[])?;
        let mut server = PageServer::new(missing);
        server.until(Kind::Ready, sender, PATIENCE)?;
        // From here on nobody cancels it any more, and it goes on here only if somebody says so.
        if !self.shared.enter(MigrationPhase::HandedOver) {
            return Err(Over::Told);
        }
        lock(&self.shared.rest).take();
        let gone = sender.frame(Kind::Go, &[]);
        let runs = gone.and_then(|()| server.until(Kind::Running, sender, PATIENCE));
        self.serve(sender, &mut server, runs, rest.began)
    }

    /// Until the target has all; `runs` there, or what went wrong.
    fn serve(
        &self,
        sender: &mut Sender<UnixStream>,
        server: &mut PageServer,
        mut runs: Result<(), FrameError>,
        began: Instant,
    ) -> Result<(), Over> {
        loop {
            let served = runs.and_then(|()| {
                {
                    let mut progress = lock(&self.shared.progress);
                    progress.downtime.get_or_insert_with(|| began.elapsed());
                    progress.reason = None;
                }
                self.shared.enter_again(MigrationPhase::PostCopy);
                server.send_all(sender, PATIENCE, |server, sender| {
                    let mut progress = lock(&self.shared.progress);
                    progress.sent = sender.sent();
                    progress.left = server.left() * memory::PAGE_SIZE;
                    progress.wanted = server.wanted();
                })
            });
            let Err(error) = served else {
                self.shared.enter(MigrationPhase::Completed);
                return Ok(());
            };
            self.shared.fail(&chain(&error));
            let Some(stream) = self.shared.wait_for_line() else {
                return Err(Over::Told);
            };
            *sender.to() = stream;
            server.begin_anew();
            runs = server.until(Kind::Running, sender, PATIENCE);
        }
    }
}
