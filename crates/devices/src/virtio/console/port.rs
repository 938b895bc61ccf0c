//! One port: what the host gave it, and where the guest and the host stand.

use std::collections::VecDeque;
use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::virtio::console::output::Output;

/// Bytes of input that wait for the guest.
pub(super) const INPUT_LIMIT: usize = 64 << 10;

/// What the host wants of a port.
#[derive(Debug)]
pub struct Port {
    pub(super) name: String,
    pub(super) output: Output,
}

impl Port {
    /// The terminal's port. `output` takes what the guest prints.
    #[must_use]
    pub fn console(output: Box<dyn Write + Send>) -> Port {
        Port::named("", output)
    }

    /// A port that the guest finds as `/dev/virtio-ports/<name>`.
    #[must_use]
    pub fn named(name: &str, output: Box<dyn Write + Send>) -> Port {
        Port {
            name: name.to_owned(),
            output: Output::new(output),
        }
    }
}

/// Where a port stands. Saved as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PortState {
    /// From the host, not yet in the guest's buffers.
    pub(super) input: VecDeque<u8>,
    /// The guest has the port (a driver of it is ready).
    pub(super) ready: bool,
    /// A program in the guest has the port open.
    pub(super) guest_open: bool,
    /// Bytes of the first request in the transmit queue that the host has taken already.
    pub(super) sent: u64,
    /// The host has its end open.
    pub(super) host_open: bool,
}
