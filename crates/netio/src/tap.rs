//! A tap interface of the host, with its offloads.
//! Spec: Linux Documentation/networking/tuntap.rst; `struct virtio_net_hdr`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use thiserror::Error;

use crate::tap_raw::{self, Flags};
use crate::{DATA_VALID, Frame, Link, MAX_FRAME, OffloadHeader, Offloads};

/// The header before each frame: the virtio one with its count of buffers, which stays 0 here.
const HEADER: usize = OffloadHeader::LEN + 2;
const DEVICE: &str = "/dev/net/tun";
/// Bytes of an interface's name. Spec: netdevice(7), IFNAMSIZ less its zero.
const NAME_LEN: usize = 15;

#[derive(Debug, Error)]
pub enum TapError {
    #[error("cannot open {DEVICE}")]
    Open { source: io::Error },
    #[error("{name:?} is no name of a network interface")]
    Name { name: String },
    #[error("cannot attach to the tap interface {name}")]
    Attach { name: String, source: io::Error },
    #[error("the descriptor is no tap interface with virtio headers")]
    Descriptor { source: io::Error },
}

/// One queue of a tap interface.
#[derive(Debug)]
pub struct TapLink {
    tap: OwnedFd,
    offloads: Offloads,
    buffer: Vec<u8>,
    /// Bytes of the frame in `buffer` that was not taken yet.
    held: Option<usize>,
    /// The interface sends frames by this queue.
    attached: bool,
}

impl TapLink {
    /// Attaches `queues` queues to the interface, which is made if the caller may do that.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn by_name(name: &str, queues: usize) -> Result<Vec<TapLink>, TapError> {
        let shape = !name.is_empty() && name.len() <= NAME_LEN && !name.contains(['\0', '/', '%']);
        if !shape {
            return Err(TapError::Name { name: name.into() });
        }
        let links = (0..queues).map(|_| {
            let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let tap =
                rustix::fs::open(DEVICE, flags, Mode::empty()).map_err(|error| TapError::Open {
                    source: error.into(),
                })?;
            let attached = tap_raw::attach(&tap, name, Flags::wanted(queues > 1));
            attached
                .and_then(|()| TapLink::ready(tap))
                .map_err(|source| TapError::Attach {
                    name: name.into(),
                    source,
                })
        });
        links.collect()
    }

    /// Takes over a queue that somebody else attached, with `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`.
    ///
    /// # Errors
    /// When the descriptor is something else.
    pub fn from_fd(tap: OwnedFd) -> Result<TapLink, TapError> {
        // A queue that its last machine did not use tells nothing.
        let _ = tap_raw::switch_queue(&tap, true);
        let ready = tap_raw::flags(&tap).and_then(|flags| {
            if !flags.fit() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let status = rustix::fs::fcntl_getfl(&tap)?;
            rustix::fs::fcntl_setfl(&tap, status | OFlags::NONBLOCK)?;
            TapLink::ready(tap)
        });
        ready.map_err(|source| TapError::Descriptor { source })
    }

    /// The interface, for who is to move its frames instead.
    ///
    /// # Errors
    /// When the host has no file descriptors left.
    pub fn tap(&self) -> io::Result<OwnedFd> {
        self.tap.try_clone()
    }

    #[cfg(test)]
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.tap
    }

    fn ready(tap: OwnedFd) -> io::Result<TapLink> {
        tap_raw::set_header_size(&tap, HEADER)?;
        let all = Offloads {
            checksum: true,
            tso4: true,
            tso6: true,
            ecn: true,
        };
        // What the kernel takes from us it takes always; this asks what it may give us, and by that
        // finds out what it knows.
        let offloads = if tap_raw::set_offloads(&tap, all).is_ok() {
            all
        } else {
            Offloads::NONE
        };
        tap_raw::set_offloads(&tap, Offloads::NONE)?;
        Ok(TapLink {
            tap,
            offloads,
            buffer: vec![0; HEADER + MAX_FRAME],
            held: None,
            attached: true,
        })
    }
}

impl Link for TapLink {
    fn offloads(&self) -> Offloads {
        self.offloads
    }

    fn accept(&mut self, guest: Offloads) {
        // It knew these when asked at first.
        let _ = tap_raw::set_offloads(&self.tap, guest);
    }

    fn use_queue(&mut self, wanted: bool) {
        // An interface of one queue has none to switch.
        if wanted != self.attached && tap_raw::switch_queue(&self.tap, wanted).is_ok() {
            self.attached = wanted;
        }
    }

    fn send(&mut self, offload: &OffloadHeader, frame: &[u8]) {
        let mut header = [0; HEADER];
        header[..OffloadHeader::LEN].copy_from_slice(&offload.to_bytes());
        let parts = [io::IoSlice::new(&header), io::IoSlice::new(frame)];
        // An interface that is down or full loses frames, as every wire does.
        let _ = rustix::io::writev(&self.tap, &parts);
    }

    fn receive(&mut self, deliver: &mut dyn FnMut(&Frame<'_>) -> bool) -> bool {
        let len = match self.held.take() {
            Some(len) => len,
            None => match rustix::io::read(&self.tap, &mut self.buffer) {
                Ok(len) if len > HEADER => len,
                _ => return false,
            },
        };
        let mut header = [0; OffloadHeader::LEN];
        header.copy_from_slice(&self.buffer[..OffloadHeader::LEN]);
        let mut offload = OffloadHeader::from_bytes(header);
        offload.flags &= crate::NEEDS_CSUM | DATA_VALID;
        let taken = deliver(&Frame {
            offload,
            parts: &[&self.buffer[HEADER..len]],
        });
        if !taken {
            self.held = Some(len);
        }
        taken
    }

    fn events(&self) -> Option<BorrowedFd<'_>> {
        Some(self.tap.as_fd())
    }
}

#[cfg(test)]
pub(crate) mod testing_raw;
#[cfg(test)]
mod tests;
