//! The source's side: pages and pieces of disks become frames.

use std::io::Write;

use block::{BlockDevice, Extent};
use memory::{GuestMemory, PAGE_SIZE, PageSet, RamRange};

use crate::disk::CHUNK;
use crate::frame::{self, FrameError, Hello, Kind};
use crate::known::{How, Known};
use crate::missing;
use crate::packed::Packer;

const PAGE: usize = 1 << memory::PAGE_SHIFT;
/// Pages in one frame.
pub(crate) const BATCH: usize = 128;
pub(crate) const ZERO: u64 = 0;
pub(crate) const DATA: u64 = 1;
pub(crate) const LIKE: u64 = 2;
/// The highest two bits of a page's number say how it is sent.
pub(crate) const HOW: u32 = 62;
/// Bytes of state in one frame.
const PART: usize = 1 << 20;

/// What was sent so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Bytes on the network.
    pub bytes: u64,
    /// Bytes of memory and disks that were looked at.
    pub covered: u64,
    /// Pages: of zeros, like others, as they were, and in full.
    pub zero: u64,
    pub like: u64,
    pub same: u64,
    pub data: u64,
}

/// How it is sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Way {
    pub compress: bool,
    /// The guest may begin there before all of its memory has come.
    pub post_copy: bool,
}

/// Sends a guest to `to`.
#[derive(Debug)]
pub struct Sender<W> {
    to: W,
    known: Known,
    packer: Packer,
    memory: GuestMemory,
    /// Memory's ranges, each with the number of its first page.
    ranges: Vec<(u64, RamRange)>,
    sent: Sent,
    /// Of the frame of pages that is just made.
    numbers: Vec<u64>,
    data: Vec<u8>,
}

impl<W: Write> Sender<W> {
    /// Says what will come.
    ///
    /// # Errors
    /// When the connection fails, as with all of these.
    pub fn begin(
        to: W,
        memory: GuestMemory,
        disks: Vec<u64>,
        way: Way,
    ) -> Result<Sender<W>, FrameError> {
        let mut pages = 0;
        let mut ranges = Vec::new();
        for range in memory.mapped_ranges() {
            ranges.push((pages, range));
            pages += range.len / PAGE_SIZE;
        }
        let mut sender = Sender {
            to,
            known: Known::new(usize::try_from(pages).unwrap_or(usize::MAX)),
            packer: Packer::new(way.compress),
            memory,
            ranges,
            sent: Sent::default(),
            numbers: Vec::new(),
            data: Vec::new(),
        };
        let hello = Hello {
            pages,
            disks,
            post_copy: way.post_copy,
        };
        sender.frame(Kind::Hello, &hello.encode())?;
        Ok(sender)
    }

    #[must_use]
    pub fn sent(&self) -> Sent {
        self.sent
    }

    pub fn to(&mut self) -> &mut W {
        &mut self.to
    }

    /// Sends a frame that says `body`.
    ///
    /// # Errors
    /// See [`Sender::begin`].
    pub fn frame(&mut self, kind: Kind, body: &[u8]) -> Result<(), FrameError> {
        frame::write(&mut self.to, kind, body)?;
        self.sent.bytes += (frame::HEADER + body.len()) as u64;
        Ok(())
    }

    /// Sends memory: at most so many bytes of what `range` has, which are whole pages of one range.
    ///
    /// # Errors
    /// See [`Sender::begin`].
    pub fn pages(&mut self, range: RamRange) -> Result<(), FrameError> {
        let Some(first) = self.number_of(range) else {
            return Ok(());
        };
        let mut room = vec![0; BATCH * PAGE];
        let mut at = 0;
        while at < range.len {
            let len = (range.len - at).min(room.len() as u64);
            let batch = &mut room[..usize::try_from(len).unwrap_or(0)];
            let base = memory::Gpa(range.base.0 + at);
            self.memory
                .read_own(base, batch)
                .map_err(FrameError::Failed)?;
            self.batch(first + at / PAGE_SIZE, batch)?;
            at += len;
        }
        Ok(())
    }

    /// The number of the first of these pages, which are of one range.
    fn number_of(&self, range: RamRange) -> Option<u64> {
        self.ranges.iter().find_map(|(first, all)| {
            let inside = range.base.0.checked_sub(all.base.0)?;
            (inside + range.len <= all.len).then_some(first + inside / PAGE_SIZE)
        })
    }

    /// The pages of `ranges`, by their numbers.
    #[must_use]
    pub fn numbers_of(&self, ranges: &[RamRange]) -> PageSet {
        let last = self.ranges.last();
        let mut pages = PageSet::new(last.map_or(0, |(first, it)| first + it.len / PAGE_SIZE));
        for range in ranges {
            if let Some(first) = self.number_of(*range) {
                (first..first + range.len / PAGE_SIZE).for_each(|page| pages.insert(page));
            }
        }
        pages
    }

    /// Says which pages come when the guest runs there.
    ///
    /// # Errors
    /// See [`Sender::begin`].
    pub fn missing(&mut self, pages: &PageSet) -> Result<(), FrameError> {
        missing::say(&mut self.to, pages)
    }

    /// Sends a frame of these pages as they are, whatever the target has in their place.
    ///
    /// # Errors
    /// See [`Sender::begin`].
    pub fn late_pages(&mut self, pages: &[u64]) -> Result<(), FrameError> {
        for number in pages {
            let of = self.ranges.iter().rfind(|(first, _)| first <= number);
            let Some((first, range)) = of else { continue };
            let mut page = [0; PAGE];
            let at = memory::Gpa(range.base.0 + (number - first) * PAGE_SIZE);
            let read = self.memory.read_own(at, &mut page);
            read.map_err(FrameError::Failed)?;
            self.sent.covered += PAGE_SIZE;
            if page == [0; PAGE] {
                self.sent.zero += 1;
                self.numbers.push(number | ZERO << HOW);
            } else {
                self.sent.data += 1;
                self.numbers.push(number | DATA << HOW);
                self.data.extend(page);
            }
        }
        self.flush_pages()
    }

    fn batch(&mut self, first: u64, bytes: &[u8]) -> Result<(), FrameError> {
        for (number, page) in (first..).zip(bytes.chunks_exact(PAGE)) {
            self.sent.covered += PAGE_SIZE;
            match self.known.how(number, page) {
                How::Same => self.sent.same += 1,
                How::Zero => {
                    self.sent.zero += 1;
                    self.numbers.push(number | ZERO << HOW);
                }
                How::Like(other) => {
                    self.sent.like += 1;
                    self.numbers.extend([number | LIKE << HOW, other]);
                }
                How::Data => {
                    self.sent.data += 1;
                    self.numbers.push(number | DATA << HOW);
                    self.data.extend(page);
                }
            }
            if self.data.len() >= BATCH * PAGE || self.numbers.len() >= 2 * BATCH {
                self.flush_pages()?;
            }
        }
        Ok(())
    }

    /// Sends what is gathered.
    ///
    /// # Errors
    /// See [`Sender::begin`].
    pub fn flush_pages(&mut self) -> Result<(), FrameError> {
        if self.numbers.is_empty() {
            return Ok(());
        }
        let mut body = Vec::with_capacity(8 * self.numbers.len() + self.data.len() + 16);
        let count = u32::try_from(self.numbers.len()).unwrap_or(0);
        body.extend(count.to_le_bytes());
        for number in self.numbers.drain(..) {
            body.extend(number.to_le_bytes());
        }
        if !self.data.is_empty() {
            self.packer.pack(&self.data, &mut body);
            self.data.clear();
        }
        self.frame(Kind::Pages, &body)
    }

    /// Sends a chunk of a disk. `fresh` where the target has nothing there yet.
    ///
    /// # Errors
    /// See [`Sender::begin`]; and when the disk cannot be read.
    pub fn chunk(
        &mut self,
        disk: u32,
        of: &dyn BlockDevice,
        chunk: u64,
        fresh: bool,
    ) -> Result<(), FrameError> {
        let offset = chunk * CHUNK;
        let len = CHUNK.min(of.len().saturating_sub(offset));
        if len == 0 {
            return Ok(());
        }
        self.sent.covered += len;
        let (extent, known) = of.extent(offset, len).map_err(FrameError::Failed)?;
        let mut data = vec![0; usize::try_from(len).unwrap_or(0)];
        if known < len || !matches!(extent, Extent::Zero | Extent::Hole) {
            of.read_at(&mut data, offset).map_err(FrameError::Failed)?;
        }
        let zero = data.iter().all(|byte| *byte == 0);
        if zero && fresh {
            return Ok(());
        }
        let mut body = disk.to_le_bytes().to_vec();
        body.extend(u32::try_from(len).unwrap_or(0).to_le_bytes());
        body.extend(offset.to_le_bytes());
        if !zero {
            self.packer.pack(&data, &mut body);
        }
        self.frame(Kind::Disk, &body)
    }

    /// Sends what is of `kind`, in parts.
    ///
    /// # Errors
    /// See [`Sender::begin`].
    pub fn parts(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), FrameError> {
        for part in bytes.chunks(PART) {
            let mut body = u32::try_from(part.len())
                .unwrap_or(0)
                .to_le_bytes()
                .to_vec();
            self.packer.pack(part, &mut body);
            self.frame(kind, &body)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
