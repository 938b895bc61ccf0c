//! One command that the host asked for: its process, its pipes or its terminal.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, Uid, WaitStatus};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::errand::Refusal;
use crate::frame::{Exec, Kind, MAX_PAYLOAD, OUTPUT_WINDOW, Size};
use crate::user::User;

/// What every child starts with beside what its user has; the host's own variables come on top.
const ENVIRONMENT: [(&str, &str); 2] = [
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("LANG", "C.UTF-8"),
];

const END_OF_FILE: u8 = 4;

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) pid: Pid,
    input: Option<OwnedFd>,
    pending: VecDeque<u8>,
    input_ended: bool,
    outputs: Vec<(Kind, OwnedFd)>,
    /// So much more output may be sent.
    credit: usize,
    terminal: bool,
    pub(crate) ended: Option<WaitStatus>,
}

impl Job {
    /// # Errors
    /// When the program cannot be started: the reason, as `execve` or `chdir` gives it.
    pub(crate) fn start(exec: &Exec) -> Result<Self, Refusal> {
        let user = User::find(&exec.user)?;
        let directory = if exec.cwd.is_empty() {
            user.directory()
        } else {
            Path::new(&exec.cwd)
        };
        // Asked for here, since the error of a spawn does not tell a bad directory from a bad program.
        if !directory.is_dir() {
            return Err(Errno::NOTDIR.into());
        }
        let [program, arguments @ ..] = exec.argv.as_slice() else {
            return Err(Errno::INVAL.into());
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .envs(ENVIRONMENT)
            .envs(user.variables());
        command.envs(exec.env.iter().filter_map(|pair| variable(pair)));
        let uid = user.rights.uid;
        // Whoever is root is as the agent is, and the agent's unit may have kept some rights from it.
        let rights = (uid != 0 || user.rights.gid != 0).then_some(user.rights);
        crate::sys_raw::lead_session(&mut command, exec.terminal.is_some(), rights);
        Ok(match exec.terminal {
            Some(size) => Self::with_terminal(command, size, uid)?,
            None => Self::with_pipes(command)?,
        })
    }

    fn with_pipes(mut command: Command) -> io::Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut outputs = Vec::new();
        outputs.extend(
            child
                .stdout
                .take()
                .map(|pipe| (Kind::Stdout, OwnedFd::from(pipe))),
        );
        outputs.extend(
            child
                .stderr
                .take()
                .map(|pipe| (Kind::Stderr, OwnedFd::from(pipe))),
        );
        let input = child.stdin.take().map(OwnedFd::from);
        Self::new(&child, input, outputs, false)
    }

    fn with_terminal(mut command: Command, size: Size, uid: u32) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags)?;
        rustix::pty::grantpt(&master)?;
        rustix::pty::unlockpt(&master)?;
        rustix::termios::tcsetwinsize(&master, window(size))?;
        let name = rustix::pty::ptsname(&master, Vec::new())?;
        let slave = rustix::fs::open(
            name.as_c_str(),
            OFlags::RDWR | OFlags::NOCTTY,
            Mode::empty(),
        )?;
        // Who opens it by its name must be let in.
        rustix::fs::fchown(&slave, Some(Uid::from_raw(uid)), None)?;
        command
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave);
        let child = command.spawn()?;
        let output = master.try_clone()?;
        Self::new(&child, Some(master), vec![(Kind::Stdout, output)], true)
    }

    fn new(
        child: &Child,
        input: Option<OwnedFd>,
        outputs: Vec<(Kind, OwnedFd)>,
        terminal: bool,
    ) -> io::Result<Self> {
        let pid = Pid::from_child(child);
        for fd in outputs.iter().map(|(_, fd)| fd).chain(&input) {
            let flags = rustix::fs::fcntl_getfl(fd)?;
            rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
        }
        let pending = VecDeque::new();
        Ok(Self {
            pid,
            input,
            pending,
            input_ended: false,
            outputs,
            credit: OUTPUT_WINDOW,
            terminal,
            ended: None,
        })
    }

    /// The descriptor to poll for writing, while there is input that the child has not taken.
    pub(crate) fn wants_write(&self) -> Option<BorrowedFd<'_>> {
        self.input
            .as_ref()
            .filter(|_| !self.pending.is_empty())
            .map(AsFd::as_fd)
    }

    /// The descriptors to poll for reading, while the host takes output.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let wanted = self.outputs.iter().filter(|_| self.credit > 0);
        wanted.map(|(_, fd)| fd.as_fd())
    }

    /// The host has taken so much output.
    pub(crate) fn give_credit(&mut self, bytes: usize) {
        self.credit = self.credit.saturating_add(bytes).min(OUTPUT_WINDOW);
    }

    /// Is there output that is held back until the host takes some?
    pub(crate) fn is_held_back(&self) -> bool {
        self.credit == 0 && !self.outputs.is_empty()
    }

    /// Queues input. The window keeps this bounded; a host that overruns it loses the excess.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let room = crate::frame::STDIN_WINDOW.saturating_sub(self.pending.len());
        self.pending.extend(&bytes[..bytes.len().min(room)]);
    }

    pub(crate) fn end_input(&mut self) {
        if self.input_ended {
            return;
        }
        self.input_ended = true;
        if self.terminal {
            self.pending.push_back(END_OF_FILE);
        } else if self.pending.is_empty() {
            self.input = None;
        }
    }

    /// Hands pending input to the child; returns how much of the window is free again.
    pub(crate) fn write_input(&mut self) -> usize {
        let mut taken = 0;
        while let (Some(input), false) = (&self.input, self.pending.is_empty()) {
            match rustix::io::write(input, self.pending.as_slices().0) {
                Ok(count) => {
                    self.pending.drain(..count);
                    taken += count;
                }
                Err(Errno::AGAIN | Errno::INTR) => return taken,
                Err(_) => {
                    // The child has closed its end: what is left has nowhere to go.
                    taken += self.pending.len();
                    self.pending.clear();
                    self.input = None;
                }
            }
        }
        if self.input_ended && !self.terminal {
            self.input = None;
        }
        taken
    }

    /// Reads what the outputs hold, at most one frame of each; true while there may be more.
    pub(crate) fn read_outputs(&mut self, mut deliver: impl FnMut(Kind, &[u8])) -> bool {
        let mut more = false;
        let mut buffer = vec![0; MAX_PAYLOAD];
        let credit = &mut self.credit;
        self.outputs.retain(|(kind, fd)| {
            let room = MAX_PAYLOAD.min(*credit);
            if room == 0 {
                return true;
            }
            match rustix::io::read(fd, &mut buffer[..room]) {
                Ok(0) => false,
                Ok(count) => {
                    deliver(*kind, &buffer[..count]);
                    *credit -= count;
                    more = true;
                    true
                }
                Err(Errno::AGAIN | Errno::INTR) => true,
                // EIO is how a terminal says that its last user is gone.
                Err(_) => false,
            }
        });
        more
    }

    pub(crate) fn sits_at_terminal(&self) -> bool {
        self.terminal && self.ended.is_none()
    }

    /// A signal for the whole process group.
    pub(crate) fn signal(&self, number: i32) {
        if let Some(signal) = Signal::from_named_raw(number) {
            let _ = rustix::process::kill_process_group(self.pid, signal);
        }
    }

    pub(crate) fn resize(&self, size: Size) {
        if let (true, Some(terminal)) = (self.terminal, &self.input) {
            let _ = rustix::termios::tcsetwinsize(terminal, window(size));
        }
    }
}

/// Starts a login shell on the guest's console.
///
/// # Errors
/// When the device cannot be opened or the shell not started.
pub(crate) fn start_shell(
    device: &OsStr,
    term: &OsStr,
    size: Option<Size>,
) -> Result<Pid, Refusal> {
    let root = User::find(OsStr::new(""))?;
    let terminal = File::options().read(true).write(true).open(device)?;
    if let Some(size) = size.filter(|size| size.columns > 0 && size.rows > 0) {
        rustix::termios::tcsetwinsize(&terminal, window(size))?;
    }
    let shell = if Path::new("/bin/bash").exists() {
        "/bin/bash"
    } else {
        "/bin/sh"
    };
    let name = OsString::from(if shell == "/bin/bash" { "-bash" } else { "-sh" });
    let mut command = Command::new(shell);
    command
        .arg0(name)
        .current_dir(root.directory())
        .env_clear()
        .envs(ENVIRONMENT)
        .envs(root.variables())
        .env("TERM", term);
    command
        .stdin(terminal.try_clone()?)
        .stdout(terminal.try_clone()?)
        .stderr(terminal);
    crate::sys_raw::lead_session(&mut command, true, None);
    Ok(Pid::from_child(&command.spawn()?))
}

/// Name and value of `NAME=value`.
fn variable(pair: &OsStr) -> Option<(&OsStr, &OsStr)> {
    let bytes = pair.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    Some((
        OsStr::from_bytes(&bytes[..at]),
        OsStr::from_bytes(&bytes[at + 1..]),
    ))
}

fn window(size: Size) -> Winsize {
    Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

#[cfg(test)]
mod tests;
