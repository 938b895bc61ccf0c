//! Innkeeper's agent: process 1 of a guest that was made from one of our images, or a service of a system that
//! its users made.
//!
//! As process 1 it starts in the initrd, loads the virtio drivers, mounts the root disk and then serves the host
//! over one virtio-serial port: commands with their standard streams, a login shell on the console,
//! power off. In a machine without that port it gives the console a shell.

mod boot;
mod clipboard;
mod clock;
mod dhcp;
mod errand;
mod fields;
mod frame;
mod freeze;
mod identity;
mod job;
mod network;
mod plugged;
mod port;
mod serve;
mod service;
mod sys_raw;
mod user;

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, mount_remount};
use rustix::process::WaitOptions;
use rustix::system::{RebootCommand, reboot};

use crate::boot::Failure;
use crate::port::Port;
use crate::serve::{Agent, End};

const GRACE: Duration = Duration::from_secs(2);

fn main() {
    if std::process::id() != 1 {
        service::main();
    }
    let end = live().unwrap_or_else(|failure| {
        // Straight to the kernel's log: the console may be anything by now.
        let _ = fs::write("/dev/kmsg", format!("<2>innkeeper-agent: {failure}\n"));
        End::PowerOff
    });
    shut_down(end);
}

fn live() -> Result<End, Failure> {
    boot::early()?;
    boot::enter_root()?;
    boot::identity();
    boot::folders()?;
    let network = network::start();
    plugged::start();
    match Port::open() {
        Some(port) => Agent::new(port, network)
            .and_then(|mut agent| agent.run())
            .map_err(|error| Failure::new("lost the host", error)),
        None => shell_alone().map_err(|error| Failure::new("cannot start a shell", error)),
    }
}

/// Some other machine runs this image: a shell on its console is the most useful thing to be.
fn shell_alone() -> io::Result<End> {
    let shell = job::start_shell("/dev/console".as_ref(), "linux".as_ref(), None)
        .map_err(|refusal| io::Error::from_raw_os_error(refusal.errno))?;
    while let Ok(ended) = rustix::process::wait(WaitOptions::empty()) {
        if ended.is_some_and(|(pid, _)| pid == shell) {
            break;
        }
    }
    Ok(End::PowerOff)
}

/// Asks every process to end, insists after a while, and leaves the disk clean.
fn shut_down(end: End) {
    let _ = sys_raw::signal_all(libc::SIGTERM);
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => break,
        }
    }
    let _ = sys_raw::signal_all(libc::SIGKILL);
    rustix::fs::sync();
    let _ = mount_remount("/", MountFlags::RDONLY, "");
    let _ = reboot(match end {
        End::PowerOff => RebootCommand::PowerOff,
        End::Reboot => RebootCommand::Restart,
    });
    loop {
        std::thread::sleep(GRACE);
    }
}
