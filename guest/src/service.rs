//! The agent in a system that has another first process: that one's service, which cares for nothing but what the
//! host asks for.

use std::io;
use std::process::{Command, Stdio};

use crate::plugged;
use crate::port::Port;
use crate::serve::{Agent, End};

/// Whichever the system has; all of them ask its first process.
const POWER_OFF: &str = "systemctl poweroff || shutdown -h now || poweroff";

/// Ends the process: with 2 when it was started for nothing, with 1 when it should be started again.
pub(crate) fn main() -> ! {
    let mut words = std::env::args().skip(1);
    let status = match (words.next().as_deref(), words.next()) {
        (Some("serve"), None) => serve().map_or_else(
            |error| {
                eprintln!("innkeeper-agent: {error}");
                1
            },
            |()| 0,
        ),
        (Some("--version"), None) => {
            println!("innkeeper-agent {}", env!("CARGO_PKG_VERSION"));
            0
        }
        _ => {
            eprintln!("usage: innkeeper-agent serve");
            2
        }
    };
    std::process::exit(status)
}

fn serve() -> io::Result<()> {
    let port = Port::open().ok_or_else(|| {
        let reason = "this machine has no port innkeeper.agent: it is no guest of Innkeeper's";
        io::Error::new(io::ErrorKind::NotFound, reason)
    })?;
    plugged::start();
    let mut agent = Agent::new(port, None)?;
    loop {
        match agent.run()? {
            // It ends us as it ends all others, and until then there may be more to do.
            End::PowerOff => drop(
                Command::new("/bin/sh")
                    .args(["-c", POWER_OFF])
                    .stdin(Stdio::null())
                    .spawn()?,
            ),
            // Whoever stops services does so by this signal.
            End::Reboot => return Ok(()),
        }
    }
}
