//! The agent's one loop: requests from the port, output of children, children that have ended.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use crate::errand::{Errands, Refusal};
use crate::frame::{Console, Exec, Kind, OUTPUT_WINDOW, Request, STDIN_BEGIN, STDIN_WINDOW};
use crate::job::{Job, start_shell};
use crate::network::Network;
use crate::port::Port;

/// More commands at a time than this are refused.
const MAX_JOBS: usize = 256;
/// How often a port without a host is looked at again.
const RECONNECT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// The size of a signalfd_siginfo. Spec: signalfd(2), "The signalfd_siginfo structure".
const SIGNAL_RECORD: usize = 128;
const SIGNAL_NUMBER: usize = 0;
const SIGNAL_SENDER: usize = 12;
/// How long `poweroff` may take to end by itself, and then how long shells may.
const COURTESY: Duration = Duration::from_millis(500);
// What the image's own `poweroff` and `reboot` send to process 1, as with busybox init.
const POWER_OFF: i32 = libc::SIGUSR2;
const REBOOT: i32 = libc::SIGTERM;

/// What is to happen to the guest when the agent is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    PowerOff,
    Reboot,
}

#[derive(Debug)]
pub(crate) struct Agent {
    port: Port,
    /// Where the host may go on, by a Sync: the console's port while it is called by vsock, or the reverse.
    other: Option<Other>,
    signals: OwnedFd,
    jobs: BTreeMap<u32, Job>,
    errands: Errands,
    /// The shell on the console, and the job that it is; 0 where the guest ends with it.
    shell: Option<(Pid, u32)>,
    connected: bool,
    end: Option<End>,
    asked_by: Option<Pid>,
}

#[derive(Debug)]
struct Other {
    port: Port,
    is_console: bool,
    connected: bool,
}

impl Agent {
    pub(crate) fn new(port: Port, network: Option<Network>) -> io::Result<Self> {
        let signals = crate::sys_raw::receive_signals(&[libc::SIGCHLD, POWER_OFF, REBOOT])?;
        let errands = Errands::new(network)?;
        let jobs = BTreeMap::new();
        let mut agent = Self {
            port,
            other: None,
            signals,
            jobs,
            errands,
            shell: None,
            connected: true,
            end: None,
            asked_by: None,
        };
        crate::clipboard::prepare();
        agent.port.greet([0; 16]);
        Ok(agent)
    }

    /// Serves until the host asks to power off, the console's shell ends, or the port breaks. It can be called
    /// again where that was not the end of the guest.
    pub(crate) fn run(&mut self) -> io::Result<End> {
        let end = loop {
            if let Some(end) = self.end.take() {
                break end;
            }
            self.wait()?;
            self.port.flush();
            self.receive()?;
            while let Some(request) = self.port.next() {
                self.answer(request);
            }
            self.tell_errands();
            self.reap();
            self.move_data();
        };
        self.errands.thaw();
        self.port.drain();
        self.hang_up();
        Ok(end)
    }

    fn receive(&mut self) -> io::Result<()> {
        let received = self.port.receive();
        let by_vsock = self.other.as_ref().is_some_and(|other| other.is_console);
        if by_vsock && !matches!(received, Ok(true)) {
            self.swap();
        } else {
            self.connected = received?;
        }
        let Some(other) = &mut self.other else {
            return Ok(());
        };
        other.port.flush();
        let received = other.port.receive();
        other.connected = matches!(received, Ok(true));
        if !other.is_console && !other.connected {
            self.other = None;
            return Ok(());
        }
        while let Some(request) = other.port.next() {
            if let Request::Sync { nonce, keep } = request {
                self.swap();
                self.begin_anew(nonce, &keep);
                break;
            }
        }
        Ok(())
    }

    /// The host goes on at the other port.
    fn swap(&mut self) {
        if let Some(other) = self.other.take() {
            let before = std::mem::replace(&mut self.port, other.port);
            self.connected = true;
            // A call that is over is not taken up again.
            self.other = (!other.is_console).then_some(Other {
                port: before,
                is_console: true,
                connected: true,
            });
        }
    }

    /// Calls the host, which may go on there.
    fn meet(&mut self, job: u32, number: u32, token: [u8; 16]) {
        if self.other.is_some() {
            return self.fail(job, &Errno::ALREADY.into());
        }
        match Port::call(number) {
            Ok(mut port) => {
                port.greet(token);
                self.other = Some(Other {
                    port,
                    is_console: false,
                    connected: true,
                });
            }
            Err(error) => self.fail(job, &error.into()),
        }
    }

    /// Lets `poweroff` end by itself, so that no shell reports it as killed, and hangs up what sits at
    /// a terminal: an interactive shell ignores the signal that ends the others.
    fn hang_up(&mut self) {
        self.give_time(|agent| agent.asked_by.is_some_and(lives));
        // More than once: bash sleeps on where a signal comes just before it waits for a key.
        self.give_time(|agent| {
            if let Some((shell, _)) = agent.shell {
                let _ = rustix::process::kill_process(shell, Signal::HUP);
            }
            let at_terminals = agent.jobs.values().filter(|job| job.sits_at_terminal());
            at_terminals.map(|job| job.signal(libc::SIGHUP)).count() > 0 || agent.shell.is_some()
        });
    }

    /// Waits while `busy`, but not long.
    fn give_time(&mut self, busy: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + COURTESY;
        while busy(self) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
            self.reap();
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&self) -> io::Result<()> {
        let mut fds = vec![
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&self.errands, PollFlags::IN),
        ];
        if self.connected {
            let write = if self.port.has_output() {
                PollFlags::OUT
            } else {
                PollFlags::empty()
            };
            fds.push(PollFd::from_borrowed_fd(
                self.port.as_fd(),
                PollFlags::IN | write,
            ));
        }
        if let Some(other) = self.other.as_ref().filter(|other| other.connected) {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, other.port.has_output());
            fds.push(PollFd::from_borrowed_fd(other.port.as_fd(), flags));
        }
        for job in self.jobs.values() {
            if let Some(input) = job.wants_write() {
                fds.push(PollFd::from_borrowed_fd(input, PollFlags::OUT));
            }
            if self.port.has_room() {
                fds.extend(
                    job.outputs()
                        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
                );
            }
        }
        let all_connected = self.connected && self.other.as_ref().is_none_or(|it| it.connected);
        let patience = if all_connected {
            None
        } else {
            Some(&RECONNECT)
        };
        match poll(&mut fds, patience) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Exec { job, exec } => self.exec(job, &exec),
            Request::Stdin { job, bytes } => {
                if let Some(job) = self.jobs.get_mut(&job) {
                    job.feed(&bytes);
                }
            }
            Request::StdinEnd { job } => {
                if let Some(job) = self.jobs.get_mut(&job) {
                    job.end_input();
                }
            }
            Request::Signal { job, signal } => {
                if let Some(job) = self.jobs.get(&job) {
                    job.signal(signal);
                }
            }
            Request::Resize { job, size } => {
                if let Some(job) = self.jobs.get(&job) {
                    job.resize(size);
                }
            }
            Request::Console { job, console } => self.start_shell(job, &console),
            Request::Sync { nonce, keep } => self.begin_anew(nonce, &keep),
            Request::Errand { job, errand } => {
                if let Err(refusal) = self.errands.begin(job, errand) {
                    self.fail(job, &refusal);
                }
            }
            Request::Meet { job, port, token } => self.meet(job, port, token),
            Request::Unknown { job } => self.fail(job, &Errno::NOSYS.into()),
            Request::PowerOff => self.end = Some(End::PowerOff),
            Request::Credit { job, bytes } => {
                if let Some(job) = self.jobs.get_mut(&job) {
                    job.give_credit(usize::try_from(bytes).unwrap_or(usize::MAX));
                }
            }
        }
    }

    /// Another host is behind the port: a guest that was restored has none of its clients left. What they ran is
    /// hung up, and what was frozen for them goes on.
    fn begin_anew(&mut self, nonce: [u8; 16], keep: &[u32]) {
        self.jobs.retain(|number, job| {
            if keep.contains(number) {
                job.give_credit(OUTPUT_WINDOW);
                return true;
            }
            job.signal(libc::SIGHUP);
            job.signal(libc::SIGKILL);
            false
        });
        if let Some((shell, _)) = self.shell.filter(|(_, job)| !keep.contains(job)) {
            let _ = rustix::process::kill_process(shell, Signal::HUP);
            let _ = rustix::process::kill_process(shell, Signal::KILL);
            self.shell = None;
        }
        self.errands.thaw();
        self.port.greet(nonce);
    }

    fn tell_errands(&mut self) {
        for (job, answer) in self.errands.answers() {
            match answer {
                Ok(found) => self.port.send(Kind::Done, job, &found),
                Err(refusal) => self.fail(job, &refusal),
            }
        }
    }

    fn exec(&mut self, number: u32, exec: &Exec) {
        if self.jobs.len() >= MAX_JOBS || self.jobs.contains_key(&number) {
            return self.fail(number, &Errno::BUSY.into());
        }
        match Job::start(exec) {
            Ok(job) => {
                self.jobs.insert(number, job);
                let rest = u32::try_from(STDIN_WINDOW - STDIN_BEGIN).unwrap_or(0);
                self.port.send(Kind::Credit, number, &rest.to_le_bytes());
            }
            Err(error) => self.fail(number, &error),
        }
    }

    fn start_shell(&mut self, job: u32, console: &Console) {
        if self.shell.is_some() {
            return self.fail(job, &Errno::BUSY.into());
        }
        match start_shell(&console.device, &console.term, Some(console.size)) {
            Ok(pid) => self.shell = Some((pid, job)),
            Err(error) => self.fail(job, &error),
        }
    }

    fn fail(&mut self, job: u32, refusal: &Refusal) {
        let mut payload = refusal.errno.to_le_bytes().to_vec();
        payload.extend_from_slice(refusal.sentence.as_bytes());
        self.port.send(Kind::Failed, job, &payload);
    }

    /// Takes signals, and every child that has ended, ours or an orphan that process 1 inherited.
    fn reap(&mut self) {
        let mut record = [0; SIGNAL_RECORD];
        while let Ok(SIGNAL_RECORD) = rustix::io::read(&self.signals, &mut record) {
            self.end = match field(&record, SIGNAL_NUMBER) {
                POWER_OFF => Some(End::PowerOff),
                REBOOT => Some(End::Reboot),
                _ => continue,
            };
            self.asked_by = Pid::from_raw(field(&record, SIGNAL_SENDER));
        }
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if let Some((_, job)) = self.shell.take_if(|(shell, _)| *shell == pid) {
                if job == 0 {
                    self.end.get_or_insert(End::PowerOff);
                } else {
                    self.port.send(Kind::Exit, job, &exit_payload(status));
                }
            }
            if let Some(job) = self.jobs.values_mut().find(|job| job.pid == pid) {
                job.ended = Some(status);
            }
        }
    }

    /// Moves bytes both ways, and reports the jobs that are over and have nothing more to say.
    fn move_data(&mut self) {
        let port = &mut self.port;
        self.jobs.retain(|number, job| {
            let taken = u32::try_from(job.write_input()).unwrap_or(u32::MAX);
            if taken > 0 {
                port.send(Kind::Credit, *number, &taken.to_le_bytes());
            }
            let mut more = true;
            while more && port.has_room() {
                more = job.read_outputs(|kind, bytes| port.send(kind, *number, bytes));
            }
            // What a command has left in its pipes is its last words, and is not lost.
            let silent = !more && !job.is_held_back();
            let Some(status) = job.ended.filter(|_| silent) else {
                return true;
            };
            port.send(Kind::Exit, *number, &exit_payload(status));
            false
        });
        port.flush();
    }
}

fn field(record: &[u8; SIGNAL_RECORD], at: usize) -> i32 {
    i32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]])
}

fn lives(pid: Pid) -> bool {
    rustix::process::test_kill_process(pid).is_ok()
}

fn exit_payload(status: WaitStatus) -> [u8; 5] {
    let (signalled, value) = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (0, code),
        (None, signal) => (1, signal.unwrap_or(0)),
    };
    let [a, b, c, d] = value.cast_unsigned().to_le_bytes();
    [signalled, a, b, c, d]
}
