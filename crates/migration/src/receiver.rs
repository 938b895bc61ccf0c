//! The target's side: frames become files, as which the guest then begins.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use memory::{PAGE_SIZE, PageSet, Run};

use crate::disk::CHUNK;
use crate::frame::{self, Body, FrameError, Hello, Kind};
use crate::missing;
use crate::packed::unpack;
use crate::sender::{BATCH, DATA, HOW, LIKE, ZERO};

const PAGE: usize = 1 << memory::PAGE_SHIFT;
/// Numbers in one frame of pages: those of pages that are like others come in pairs.
const MOST_NUMBERS: usize = 4 * BATCH;
/// Pages that nobody sent, between others: mapped with them rather than apart.
const GAP: u64 = 16;

/// What was agreed upon. More is refused.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Pages of memory.
    pub pages: u64,
    /// Bytes of each disk that is copied.
    pub disks: Vec<u64>,
    /// Bytes.
    pub state: usize,
    pub about: usize,
    /// The guest may begin before all of its memory has come.
    pub post_copy: bool,
}

/// Takes what a source sends, from its hello to its end.
#[derive(Debug)]
pub struct Receiver {
    bounds: Bounds,
    pages: File,
    disks: Vec<File>,
    /// One bit a page: something lies in the file there.
    present: Vec<u64>,
    /// One bit a chunk, of each disk.
    chunks: Vec<Vec<u64>>,
    state: Vec<u8>,
    about: Vec<u8>,
    /// Something was written to a disk since the disks were last made lasting.
    unsynced: bool,
    /// What comes later, once the source has said so.
    missing: Option<PageSet>,
}

/// How a page comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Zero,
    Data,
    Like(u64),
}

/// All that came.
#[derive(Debug)]
pub struct Received {
    pub pages: File,
    /// Pages of all memory.
    pub all: u64,
    /// What of the file is memory.
    pub runs: Vec<Run>,
    pub state: Vec<u8>,
    pub about: Vec<u8>,
    /// Pages that come when the guest runs; nothing where it is whole.
    pub missing: Option<PageSet>,
}

fn get(bits: &[u64], at: u64) -> bool {
    let word = usize::try_from(at / 64)
        .ok()
        .and_then(|word| bits.get(word));
    word.is_some_and(|word| word & (1 << (at % 64)) != 0)
}

fn set(bits: &mut [u64], at: u64) {
    if let Some(word) = usize::try_from(at / 64)
        .ok()
        .and_then(|word| bits.get_mut(word))
    {
        *word |= 1 << (at % 64);
    }
}

fn words(bits: u64) -> Vec<u64> {
    vec![0; usize::try_from(bits.div_ceil(64)).unwrap_or(0)]
}

impl Receiver {
    /// `pages` is empty; `disks` are as long as was agreed, and hold nothing.
    #[must_use]
    pub fn new(bounds: Bounds, pages: File, disks: Vec<File>) -> Receiver {
        Receiver {
            present: words(bounds.pages),
            chunks: bounds
                .disks
                .iter()
                .map(|len| words(len.div_ceil(CHUNK)))
                .collect(),
            bounds,
            pages,
            disks,
            state: Vec::new(),
            about: Vec::new(),
            unsynced: false,
            missing: None,
        }
    }

    /// Takes all. `told` hears of bytes that came.
    ///
    /// # Errors
    /// When the source goes before its end, does not keep to the protocol or to what was agreed upon, or
    /// this host has no room.
    pub fn receive(
        mut self,
        from: &mut impl Read,
        mut told: impl FnMut(u64),
    ) -> Result<Received, FrameError> {
        let mut body = Vec::new();
        if frame::read(from, &mut body)? != Kind::Hello {
            return Err(FrameError::Nonsense("it does not begin as a migration"));
        }
        let hello = Hello::decode(&body)?;
        let late = hello.post_copy && !self.bounds.post_copy;
        if hello.pages > self.bounds.pages || hello.disks != self.bounds.disks || late {
            return Err(FrameError::Nonsense(
                "it sends another guest than it offered",
            ));
        }
        self.bounds.pages = hello.pages;
        loop {
            let kind = frame::read(from, &mut body)?;
            told((frame::HEADER + body.len()) as u64);
            match kind {
                Kind::Missing if hello.post_copy => self.take_missing(&body)?,
                // What is missing is the last that is said of memory.
                Kind::Pages if self.missing.is_none() => self.take_pages(&body)?,
                Kind::Disk => self.take_chunk(&body)?,
                Kind::Round => self.sync()?,
                Kind::State => take_part(&mut self.state, self.bounds.state, &body)?,
                Kind::About => take_part(&mut self.about, self.bounds.about, &body)?,
                Kind::End => break,
                _ => return Err(FrameError::Nonsense("a frame that is for later")),
            }
        }
        self.finish(&hello)
    }

    fn finish(mut self, hello: &Hello) -> Result<Received, FrameError> {
        self.sync()?;
        let len = hello.pages.saturating_mul(PAGE_SIZE);
        self.pages.set_len(len).map_err(FrameError::Keep)?;
        Ok(Received {
            all: hello.pages,
            runs: runs(&self.present, hello.pages, self.missing.as_ref()),
            missing: self.missing,
            pages: self.pages,
            state: self.state,
            about: self.about,
        })
    }

    /// What the guest was told to be written, stays so.
    fn sync(&mut self) -> Result<(), FrameError> {
        if std::mem::take(&mut self.unsynced) {
            for disk in &self.disks {
                disk.sync_data().map_err(FrameError::Keep)?;
            }
        }
        Ok(())
    }

    /// Pages whose content, where any came, is of no use any more.
    fn take_missing(&mut self, body: &[u8]) -> Result<(), FrameError> {
        let mut missing = self.missing.take();
        let all = missing.get_or_insert_with(|| PageSet::new(self.bounds.pages));
        missing::take(body, all)?;
        self.missing = missing;
        Ok(())
    }

    fn take_pages(&mut self, body: &[u8]) -> Result<(), FrameError> {
        let mut body = Body(body);
        let count = body.u32()? as usize;
        if count > MOST_NUMBERS {
            return Err(FrameError::Nonsense("too many pages in one frame"));
        }
        let words: Vec<u64> = (0..count).map(|_| body.u64()).collect::<Result<_, _>>()?;
        let pages = self.named(&words)?;
        let full = pages.iter().filter(|page| page.1 == Sent::Data).count();
        let mut room = vec![0; full * PAGE];
        match (full, body.0) {
            (0, []) => {}
            (1..=BATCH, _) => unpack(body, &mut room)?,
            _ => {
                return Err(FrameError::Nonsense(
                    "a frame has not the data of its pages",
                ));
            }
        }
        // In their order: a page that another is like may be sent anew behind it. Neighbours go into the file
        // together.
        let mut from = 0;
        let neighbours = |one: &(u64, Sent), next: &(u64, Sent)| {
            one.1 == Sent::Data && next.1 == Sent::Data && one.0 + 1 == next.0
        };
        for group in pages.chunk_by(neighbours) {
            let (page, sent) = group[0];
            match sent {
                Sent::Data => {
                    let end = from + group.len() * PAGE;
                    self.write_pages(page, &room[from..end])?;
                    from = end;
                }
                Sent::Zero if !get(&self.present, page) => {}
                Sent::Like(other) if get(&self.present, other) => {
                    let mut bytes = [0; PAGE];
                    let read = self.pages.read_exact_at(&mut bytes, other * PAGE_SIZE);
                    read.map_err(FrameError::Keep)?;
                    self.write_pages(page, &bytes)?;
                }
                Sent::Zero | Sent::Like(_) => self.write_pages(page, &[0; PAGE])?,
            }
        }
        Ok(())
    }

    /// The pages of a frame, and how each is sent.
    fn named(&self, words: &[u64]) -> Result<Vec<(u64, Sent)>, FrameError> {
        let mut words = words.iter();
        let mut pages = Vec::new();
        while let Some(word) = words.next() {
            let (how, page) = (word >> HOW, word & !(3 << HOW));
            self.check(page)?;
            let sent = match how {
                ZERO => Sent::Zero,
                DATA => Sent::Data,
                LIKE => {
                    let other = words.next();
                    let other = *other.ok_or(FrameError::Nonsense("a page is like none"))?;
                    self.check(other)?;
                    Sent::Like(other)
                }
                _ => return Err(FrameError::Nonsense("a page is sent in an unknown way")),
            };
            pages.push((page, sent));
        }
        Ok(pages)
    }

    fn write_pages(&mut self, first: u64, bytes: &[u8]) -> Result<(), FrameError> {
        let written = self.pages.write_all_at(bytes, first * PAGE_SIZE);
        written.map_err(FrameError::Keep)?;
        for page in first..first + (bytes.len() / PAGE) as u64 {
            set(&mut self.present, page);
        }
        Ok(())
    }

    fn check(&self, page: u64) -> Result<(), FrameError> {
        match page < self.bounds.pages {
            true => Ok(()),
            false => Err(FrameError::Nonsense("a page beyond the guest's memory")),
        }
    }

    fn take_chunk(&mut self, body: &[u8]) -> Result<(), FrameError> {
        let mut body = Body(body);
        let disk = body.u32()? as usize;
        let len = u64::from(body.u32()?);
        let offset = body.u64()?;
        let (Some(file), Some(all)) = (self.disks.get(disk), self.bounds.disks.get(disk)) else {
            return Err(FrameError::Nonsense("a disk that was not agreed upon"));
        };
        let end = offset.saturating_add(len);
        if len == 0 || len > CHUNK || !offset.is_multiple_of(CHUNK) || end > *all {
            return Err(FrameError::Nonsense("a piece beyond its disk"));
        }
        let mut room = vec![0; usize::try_from(len).unwrap_or(0)];
        let chunk = offset / CHUNK;
        if !body.0.is_empty() {
            unpack(body, &mut room)?;
        } else if !get(&self.chunks[disk], chunk) {
            return Ok(());
        }
        file.write_all_at(&room, offset).map_err(FrameError::Keep)?;
        set(&mut self.chunks[disk], chunk);
        self.unsynced = true;
        Ok(())
    }
}

fn take_part(whole: &mut Vec<u8>, most: usize, body: &[u8]) -> Result<(), FrameError> {
    let mut body = Body(body);
    let len = body.u32()? as usize;
    if len > frame::LONGEST || whole.len() + len > most {
        return Err(FrameError::Nonsense("more state than any guest has"));
    }
    let at = whole.len();
    whole.resize(at + len, 0);
    unpack(body, &mut whole[at..])
}

fn runs(present: &[u64], pages: u64, missing: Option<&PageSet>) -> Vec<Run> {
    let is_missing = |page| missing.is_some_and(|missing| missing.contains(page));
    let mut runs: Vec<Run> = Vec::new();
    for (index, word) in (0u64..).zip(present) {
        let mut rest = *word;
        while rest != 0 {
            let page = index * 64 + u64::from(rest.trailing_zeros());
            rest &= rest - 1;
            if is_missing(page) {
                continue;
            }
            match runs.last_mut() {
                Some(run)
                    if page - (run.first + run.count) <= GAP
                        && !(run.first + run.count..page).any(is_missing) =>
                {
                    run.count = page + 1 - run.first;
                }
                _ if page < pages => runs.push(Run::in_place(page, 1)),
                _ => {}
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests;
