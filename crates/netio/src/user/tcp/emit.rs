//! Frames of a connection for the guest. Spec: RFC 9293; `struct virtio_net_hdr` for what is left to
//! the guest's card.

use crate::user::header::{Ends as IpEnds, Header};
use crate::user::packet::{ETHERNET, TCP};
use crate::user::tcp::flow::{Fate, Flow, Phase};
use crate::user::tcp::receiver::SCALE;
use crate::user::tcp::segment::{ACK, FIN, PSH, RST, SYN};
use crate::user::tcp::sender::Piece;
use crate::user::world::{Deliver, Emitted, World};
use crate::{Frame, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, OffloadHeader};

/// Bytes of the header without options.
const HEADER: usize = 20;
/// Where the checksum stands in it.
const CHECKSUM: u16 = 16;
/// A segment of a frame that the guest's card cuts, as if there were an Ethernet: Linux counts what
/// it has to acknowledge by these, and would wait where they were as long as its window.
const SEGMENT: usize = 1440;
/// The longest segment that goes uncut, for the same reason.
const LONGEST_UNCUT: usize = 16 << 10;

/// What a frame says beside its data.
#[derive(Debug, Clone, Copy)]
struct Speech {
    flags: u8,
    sequence: u32,
    piece: Option<Piece>,
    options: bool,
}

impl Flow {
    /// Offers the guest the next frame of this connection, if there is one now.
    pub(super) fn emit(&mut self, world: &World, deliver: &mut Deliver<'_>) -> Emitted {
        if self.phase == Phase::Open {
            self.refill();
        }
        let Some(speech) = self.next_speech(world) else {
            if self.phase == Phase::Open && self.sender.unsent() > 0 {
                // The guest's window is shut.
                self.watch(world.now);
            }
            return Emitted::Nothing;
        };
        if !self.offer(world, speech, deliver) {
            return Emitted::Refused;
        }
        self.note(speech, world);
        if self.phase == Phase::Broken {
            self.abort();
            return Emitted::Last;
        }
        match self.fate() {
            Fate::Stays => Emitted::Taken,
            Fate::Ends => Emitted::Last,
        }
    }

    fn next_speech(&self, world: &World) -> Option<Speech> {
        let bare = |flags| Speech {
            flags,
            sequence: self.sender.next(),
            piece: None,
            options: false,
        };
        if self.phase == Phase::Broken {
            return Some(bare(RST | ACK));
        }
        if self.syn_due {
            return Some(Speech {
                flags: if self.phase == Phase::Calling {
                    SYN
                } else {
                    SYN | ACK
                },
                sequence: self.sender.base().wrapping_sub(1),
                piece: None,
                options: true,
            });
        }
        if self.phase != Phase::Open {
            return self.ack_due.then(|| bare(ACK));
        }
        let Some(piece) = self.sender.piece(self.longest(world), self.probe_due) else {
            return self.ack_due.then(|| bare(ACK));
        };
        let last = piece.len == self.sender.unsent();
        let flags = ACK | if last { PSH } else { 0 } | if piece.fin { FIN } else { 0 };
        Some(Speech {
            flags,
            sequence: self.sender.sequence(piece.offset),
            piece: Some(piece),
            options: false,
        })
    }

    /// Bytes of data in one frame.
    fn longest(&self, world: &World) -> usize {
        let is_v4 = self.ends.guest.is_ipv4();
        let ip = if is_v4 { 20 } else { 40 };
        let mss = self.sender.mss().min(usize::from(world.mtu) - ip - HEADER);
        let cut = if is_v4 {
            world.guest.tso4
        } else {
            world.guest.tso6
        };
        if !cut {
            return mss.min(LONGEST_UNCUT);
        }
        let segment = mss.min(SEGMENT);
        let most = usize::from(u16::MAX) - ip - HEADER;
        most - most % segment
    }

    fn note(&mut self, speech: Speech, world: &World) {
        self.syn_due = false;
        if speech.flags & ACK != 0 {
            self.ack_due = false;
        }
        if let Some(piece) = speech.piece {
            self.sender.note_sent(piece);
            self.probe_due = false;
            self.watch(world.now);
        }
    }

    fn offer(&mut self, world: &World, speech: Speech, deliver: &mut Deliver<'_>) -> bool {
        let Some(ends) = IpEnds::new(self.ends.peer.ip(), self.ends.guest.ip()) else {
            return true;
        };
        let options = self.options(world, speech);
        let data = speech.piece.map_or([&[][..]; 2], |piece| {
            self.sender.buffer.slices(piece.offset, piece.len)
        });
        let len = data[0].len() + data[1].len();
        let transport = HEADER + options.len() + len;
        let window = self.receiver.window(speech.flags & SYN != 0);
        let mut fixed = [0; HEADER];
        fixed[..2].copy_from_slice(&self.ends.peer.port().to_be_bytes());
        fixed[2..4].copy_from_slice(&self.ends.guest.port().to_be_bytes());
        fixed[4..8].copy_from_slice(&speech.sequence.to_be_bytes());
        if speech.flags & ACK != 0 {
            fixed[8..12].copy_from_slice(&self.receiver.next().to_be_bytes());
        }
        fixed[12] = u8::try_from((HEADER + options.len()) / 4).unwrap_or(5) << 4;
        fixed[13] = speech.flags;
        fixed[14..16].copy_from_slice(&window.to_be_bytes());
        let sum = ends.pseudo(TCP, transport);
        let sum = if world.guest.checksum {
            sum.partial()
        } else {
            sum.over_parts(&[&fixed, &options, data[0], data[1]])
                .finish()
        };
        fixed[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut header = Header::ip(world.mac, ends, TCP, transport);
        header.push(&fixed);
        header.push(&options);
        deliver(&Frame {
            offload: self.offload(world, ends, header.len(), len),
            parts: &[header.bytes(), data[0], data[1]],
        })
    }

    fn options(&self, world: &World, speech: Speech) -> Vec<u8> {
        if !speech.options {
            return Vec::new();
        }
        let ip = if self.ends.guest.is_ipv4() { 20 } else { 40 };
        let [high, low] = (world.mtu - ip - 20).to_be_bytes();
        let mut options = vec![2, 4, high, low];
        if self.phase == Phase::Calling || self.receiver.scales() {
            options.extend([1, 3, 3, SCALE]);
        }
        options
    }

    fn offload(&self, world: &World, ends: IpEnds, header: usize, data: usize) -> OffloadHeader {
        if !world.guest.checksum {
            return OffloadHeader::default();
        }
        let short = |len: usize| u16::try_from(len).unwrap_or(0);
        let mut offload = OffloadHeader {
            flags: NEEDS_CSUM,
            csum_start: short(ETHERNET + ends.header_len()),
            csum_offset: CHECKSUM,
            ..OffloadHeader::default()
        };
        let (cut, kind) = match ends {
            IpEnds::V4(..) => (world.guest.tso4, GSO_TCPV4),
            IpEnds::V6(..) => (world.guest.tso6, GSO_TCPV6),
        };
        let segment = self.sender.mss().min(SEGMENT);
        if cut && data > segment {
            offload.gso_type = kind;
            offload.gso_size = short(segment);
            offload.hdr_len = short(header);
        }
        offload
    }
}
