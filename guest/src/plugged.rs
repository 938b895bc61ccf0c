//! Processors that are plugged in while the guest runs: the kernel leaves it to us to use them.
//!
//! The kernel tells of new devices by a netlink socket, in texts that end in zeros, of which the first is
//! `add@` and the device's path. Spec: Linux, "Documentation/core-api/kobject.rst", "Uevents".

use std::fs;

use crate::errand::in_thread;
use crate::sys_raw;

const PROCESSORS: &str = "/devices/system/cpu/cpu";

/// Brings processors online from now on, in the background.
pub(crate) fn start() {
    let Ok(events) = sys_raw::kernel_events() else {
        return;
    };
    let live = move || {
        let mut text = [0; 8192];
        // An event that was lost was not of a processor that anybody waits for for ever.
        loop {
            match rustix::io::read(&events, &mut text) {
                Ok(len) => {
                    if let Some(path) = new_processor(&text[..len]) {
                        // One that has gone again, or is online already.
                        let _ = fs::write(format!("/sys{path}/online"), "1");
                    }
                }
                Err(rustix::io::Errno::INTR | rustix::io::Errno::NOBUFS) => {}
                Err(_) => return,
            }
        }
    };
    // Without the thread, a person can do it.
    let _ = in_thread("plugged", live);
}

/// The path of the processor that an event tells of, if it does.
fn new_processor(event: &[u8]) -> Option<&str> {
    let head = event.split(|byte| *byte == 0).next()?;
    let path = str::from_utf8(head).ok()?.strip_prefix("add@")?;
    let number = path.strip_prefix(PROCESSORS)?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(path)
}

#[cfg(test)]
mod tests;
