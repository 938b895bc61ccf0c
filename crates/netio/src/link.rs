//! The contract between a network card and what is behind it.
//! Spec: VIRTIO 1.2, "Network Device", "Device Operation" (`struct virtio_net_hdr`), which Linux's
//! tap shares.

use std::fmt::Debug;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Bytes of the longest frame: an IP packet of 65,535 bytes, Ethernet's header, a VLAN tag.
pub const MAX_FRAME: usize = 65_535 + 14 + 4;

/// In [`OffloadHeader::flags`]: the checksum at `csum_start + csum_offset` covers only the
/// pseudo-header so far.
pub const NEEDS_CSUM: u8 = 1;
/// In [`OffloadHeader::flags`]: nobody needs to check the checksum.
pub const DATA_VALID: u8 = 2;

pub const GSO_NONE: u8 = 0;
pub const GSO_TCPV4: u8 = 1;
pub const GSO_TCPV6: u8 = 4;
/// Added to the type: the segments share a congestion mark.
pub const GSO_ECN: u8 = 0x80;

/// What one side lets the other leave undone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Frames with [`NEEDS_CSUM`].
    pub checksum: bool,
    /// Frames of [`GSO_TCPV4`], and of [`GSO_TCPV6`].
    pub tso4: bool,
    pub tso6: bool,
    /// With [`GSO_ECN`].
    pub ecn: bool,
}

impl Offloads {
    pub const NONE: Offloads = Offloads {
        checksum: false,
        tso4: false,
        tso6: false,
        ecn: false,
    };
}

/// What is left to do on a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OffloadHeader {
    pub flags: u8,
    pub gso_type: u8,
    pub hdr_len: u16,
    pub gso_size: u16,
    pub csum_start: u16,
    pub csum_offset: u16,
}

impl OffloadHeader {
    /// Bytes on a queue, without the count of buffers that follows there.
    pub const LEN: usize = 10;

    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> OffloadHeader {
        let [flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1] = bytes;
        OffloadHeader {
            flags,
            gso_type,
            hdr_len: u16::from_le_bytes([h0, h1]),
            gso_size: u16::from_le_bytes([g0, g1]),
            csum_start: u16::from_le_bytes([s0, s1]),
            csum_offset: u16::from_le_bytes([o0, o1]),
        }
    }

    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let [h0, h1] = self.hdr_len.to_le_bytes();
        let [g0, g1] = self.gso_size.to_le_bytes();
        let [s0, s1] = self.csum_start.to_le_bytes();
        let [o0, o1] = self.csum_offset.to_le_bytes();
        [self.flags, self.gso_type, h0, h1, g0, g1, s0, s1, o0, o1]
    }

    /// May a sender with these offloads say this of a frame of `len` bytes?
    #[must_use]
    pub fn is_possible(&self, len: usize, offloads: Offloads) -> bool {
        let checksum = self.flags & NEEDS_CSUM != 0;
        let end = usize::from(self.csum_start) + usize::from(self.csum_offset) + 2;
        if checksum && (!offloads.checksum || end > len) {
            return false;
        }
        if self.gso_type & GSO_ECN != 0 && !offloads.ecn {
            return false;
        }
        match self.gso_type & !GSO_ECN {
            GSO_NONE => self.gso_type == GSO_NONE,
            GSO_TCPV4 => offloads.tso4 && checksum && self.gso_size > 0,
            GSO_TCPV6 => offloads.tso6 && checksum && self.gso_size > 0,
            _ => false,
        }
    }
}

/// A frame for the guest, in pieces that lie one behind the other.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    pub offload: OffloadHeader,
    pub parts: &'a [&'a [u8]],
}

impl Frame<'_> {
    #[must_use]
    #[allow(
        clippy::len_without_is_empty,
        reason = "there is no frame without bytes"
    )]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.parts.concat()
    }
}

/// One queue pair's way to the world.
pub trait Link: Send + Debug {
    /// What frames from the guest may leave to do.
    fn offloads(&self) -> Offloads;

    /// Frames for the guest may leave this to do from now on; never more than
    /// [`Link::offloads`].
    fn accept(&mut self, guest: Offloads);

    /// Whether the guest uses this pair of queues now: of several, those of the first do at all times.
    fn use_queue(&mut self, wanted: bool) {
        let _ = wanted;
    }

    /// Takes a frame from the guest. Drops what cannot be sent now, as a wire would.
    fn send(&mut self, offload: &OffloadHeader, frame: &[u8]);

    /// What happened outside since last time: sockets, timers.
    fn turn(&mut self) {}

    /// Offers frames, one a call, until there are none or one is not taken (then it is offered
    /// again). Answers whether one was taken.
    fn receive(&mut self, deliver: &mut dyn FnMut(&Frame<'_>) -> bool) -> bool;

    /// Readable when it is time for [`Link::turn`] and [`Link::receive`].
    fn events(&self) -> Option<BorrowedFd<'_>>;

    /// Time for that at the latest.
    fn wake_in(&self) -> Option<Duration> {
        None
    }

    /// The largest IP packet, where it is not Ethernet's 1500.
    fn mtu(&self) -> Option<u16> {
        None
    }
}
