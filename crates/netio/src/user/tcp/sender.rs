//! The direction to the guest: bytes of the host's socket until the guest has acknowledged them.
//!
//! There is no congestion between us and the guest, and nothing is lost on the way but by a guest
//! that has no memory. So all that fits its window goes out at once, and what it misses is sent again
//! from the first missing byte on. Spec: RFC 9293; RFC 5681, "Fast Retransmit".

use crate::user::ring::ByteRing;
use crate::user::tcp::segment::Segment;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fin {
    /// The host may have more to say.
    Open,
    /// All is read.
    Due,
    Sent,
    Acknowledged,
}

#[derive(Debug)]
pub(super) struct Sender {
    /// The sequence number of the first byte in the buffer.
    base: u32,
    pub(super) buffer: ByteRing,
    /// Bytes of the buffer that were sent.
    sent: usize,
    /// Bytes that have ever been; more than `sent` while some go again.
    highest: usize,
    fin: Fin,
    fin_was_sent: bool,
    window: usize,
    scale: u8,
    mss: usize,
    duplicates: u8,
}

/// What an acknowledgement says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Progress,
    Nothing,
    /// It is for what was never sent.
    Impossible,
}

/// Bytes to send: a part of the buffer, and whether it is the last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) offset: usize,
    pub(super) len: usize,
    pub(super) fin: bool,
}

impl Sender {
    pub(super) fn new(base: u32) -> Sender {
        Sender {
            base,
            buffer: ByteRing::default(),
            sent: 0,
            highest: 0,
            fin: Fin::Open,
            fin_was_sent: false,
            window: 0,
            scale: 0,
            mss: 0,
            duplicates: 0,
        }
    }

    /// What the guest's SYN says.
    pub(super) fn meet(&mut self, syn: &Segment<'_>) {
        self.window = usize::from(syn.window);
        self.scale = syn.scale().unwrap_or(0);
        self.mss = usize::from(syn.mss());
    }

    pub(super) fn base(&self) -> u32 {
        self.base
    }

    pub(super) fn mss(&self) -> usize {
        self.mss
    }

    /// The sequence number of the byte at `offset`.
    pub(super) fn sequence(&self, offset: usize) -> u32 {
        self.base.wrapping_add(u32::try_from(offset).unwrap_or(0))
    }

    /// The sequence number that comes next.
    pub(super) fn next(&self) -> u32 {
        let fin = matches!(self.fin, Fin::Sent | Fin::Acknowledged);
        self.sequence(self.sent).wrapping_add(u32::from(fin))
    }

    pub(super) fn acknowledge(&mut self, segment: &Segment<'_>) -> News {
        let new = segment.acknowledged.wrapping_sub(self.base);
        let Ok(new) = usize::try_from(new) else {
            return News::Impossible;
        };
        let window = usize::from(segment.window) << self.scale;
        if new > self.highest + usize::from(self.fin_was_sent) {
            // Half of all numbers lie behind us.
            let is_old = segment.acknowledged.wrapping_sub(self.base) > 1 << 31;
            return if is_old {
                News::Nothing
            } else {
                News::Impossible
            };
        }
        if new == 0 {
            let repeats = segment.data.is_empty() && window == self.window;
            self.window = window;
            if repeats && self.sent > 0 {
                self.duplicates = self.duplicates.saturating_add(1);
                if self.duplicates == 3 {
                    self.rewind();
                }
            }
            return News::Nothing;
        }
        self.window = window;
        self.duplicates = 0;
        let bytes = new.min(self.highest);
        self.buffer.consume(bytes);
        self.base = self.sequence(bytes);
        self.sent = self.sent.saturating_sub(bytes);
        self.highest -= bytes;
        if new > bytes {
            self.fin = Fin::Acknowledged;
        }
        News::Progress
    }

    /// Sends again what is not acknowledged.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
        if self.fin == Fin::Sent {
            self.fin = Fin::Due;
        }
    }

    /// The host has said all.
    pub(super) fn end(&mut self) {
        if self.fin == Fin::Open {
            self.fin = Fin::Due;
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.fin != Fin::Open
    }

    pub(super) fn is_done(&self) -> bool {
        self.fin == Fin::Acknowledged
    }

    /// Is something under way that the guest has to acknowledge, or kept from it by its window?
    pub(super) fn waits(&self) -> bool {
        self.sent > 0 || !self.buffer.is_empty() || self.fin == Fin::Sent
    }

    /// Does the guest keep its window shut before waiting data?
    pub(super) fn is_shut_out(&self) -> bool {
        self.window == 0 && !self.buffer.is_empty()
    }

    /// Bytes in the buffer that were not sent.
    pub(super) fn unsent(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// What to send now, `most` bytes at most. With `probe`, one byte into a shut window.
    pub(super) fn piece(&self, most: usize, probe: bool) -> Option<Piece> {
        let window = self.window.max(usize::from(probe));
        let room = window.saturating_sub(self.sent);
        let len = self.unsent().min(room).min(most);
        let fin = self.fin == Fin::Due && len == self.unsent();
        (len > 0 || fin).then_some(Piece {
            offset: self.sent,
            len,
            fin,
        })
    }

    /// The piece is on its way.
    pub(super) fn note_sent(&mut self, piece: Piece) {
        self.sent = piece.offset + piece.len;
        self.highest = self.highest.max(self.sent);
        if piece.fin {
            self.fin = Fin::Sent;
            self.fin_was_sent = true;
        }
    }
}
