//! What a vCPU has translated as a file, for one that goes on where it is in another process.
//!
//! Forks of a guest run what it ran. Instead of finding, decoding and translating that again, each has the code
//! of the guest that it was forked from: pages of one file, which all of them share until they change something. A
//! guest that goes back to a snapshot has the code that it had then.
//! Code holds addresses of sites and links, so it lies where it lay; of Innkeeper's own functions it knows how far
//! they are from each other, so it is of one build (`made_by_raw`). Code from elsewhere could be anything: whoever
//! has it adopted vouches for it. Of what a process of the same [`Kin`] wrote, it says so by a number that nobody
//! else knows.
//!
//! It is right as long as the guest's memory is what it was; so each page that it comes from is noted as holding code
//! before the guest runs, and whatever is written there later makes it die as it would have died there.
//!
//! In the file, all at multiples of a page's size: the head, code of both sections, sites, links, the table of
//! pages, that of units, the stubs of the interpreter's that sites refer to.
//!
//! Rejected: positions that do not matter. It takes a table for sites, looked into at each call; addresses far from
//! all that kernels place are free in nearly every process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::code_memory_raw;
use super::inherited_raw::{PageEntry, UnitEntry, as_bytes, from_bytes};
use super::made_by_raw::{self, MadeBy};
use crate::kin::{Kin, kin};

const PAGE: u64 = 4096;
/// Arenas of stubs at most: each generation of forks may add one.
const ARENAS: usize = 16;
const MAGIC: u64 = u64::from_le_bytes(*b"INNKcode");

/// Bytes of a file.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Span {
    pub(super) at: u64,
    pub(super) len: usize,
}

/// What is in a file of translations, and where.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Head {
    /// Of all that is this vCPU's.
    pub(super) len: u64,
    /// Zeros: of nobody's.
    pub(super) kin: [u64; 2],
    pub(super) made_by: MadeBy,
    /// Bytes of room for code.
    pub(super) room: usize,
    /// Where code runs, and where sites and links are.
    pub(super) base: u64,
    pub(super) sites_base: u64,
    pub(super) links_base: u64,
    pub(super) hot: Span,
    pub(super) cold: Span,
    pub(super) sites: Span,
    pub(super) links: Span,
    pub(super) pages: Span,
    pub(super) units: Span,
    /// The last number that was given to a unit which crosses into another page.
    pub(super) stamps: u32,
    /// Where stubs run, and their bytes.
    pub(super) arenas: [(u64, Span); ARENAS],
}

const WORDS: usize = 9 + made_by_raw::WORDS + 2 * 6 + 3 * ARENAS;

impl Head {
    fn to_words(self) -> Vec<u64> {
        let spans = [
            self.hot, self.cold, self.sites, self.links, self.pages, self.units,
        ];
        let mut words = vec![MAGIC, self.len, self.kin[0], self.kin[1]];
        words.extend(self.made_by.0);
        words.extend([self.room as u64, self.base, self.sites_base]);
        words.extend([self.links_base, self.stamps.into()]);
        words.extend(spans.iter().flat_map(|span| [span.at, span.len as u64]));
        let arenas = self.arenas.iter();
        words.extend(arenas.flat_map(|(address, span)| [*address, span.at, span.len as u64]));
        words
    }

    fn of_words(words: &[u64]) -> Option<Head> {
        let mut words = words.iter().copied();
        let mut next = || words.next();
        (next()? == MAGIC).then_some(())?;
        let mut head = Head {
            len: next()?,
            kin: [next()?, next()?],
            made_by: MadeBy(words_of_maker(&mut next)?),
            room: next()? as usize,
            base: next()?,
            sites_base: next()?,
            links_base: next()?,
            stamps: next()? as u32,
            ..Head::default()
        };
        let mut span = || {
            Some(Span {
                at: next()?,
                len: next()? as usize,
            })
        };
        head.hot = span()?;
        head.cold = span()?;
        head.sites = span()?;
        head.links = span()?;
        head.pages = span()?;
        head.units = span()?;
        for arena in &mut head.arenas {
            *arena = (
                next()?,
                Span {
                    at: next()?,
                    len: next()? as usize,
                },
            );
        }
        Some(head)
    }

    /// The head at byte `at`. `None` where there is none.
    pub(super) fn read(file: &File, at: u64) -> Option<Head> {
        let mut bytes = [0; 8 * WORDS];
        file.read_exact_at(&mut bytes, at).ok()?;
        let head = Head::of_words(&from_bytes(&bytes)?)?;
        // All that it names lies in the file: of what does not, a mapping could not be read.
        let end = at.checked_add(head.len)?;
        let inside = |span: Span| {
            let ends = span.at.checked_add(span.len as u64);
            span.at.is_multiple_of(PAGE) && ends.is_some_and(|it| it <= end)
        };
        let spans = [
            head.hot, head.cold, head.sites, head.links, head.pages, head.units,
        ];
        let stubs = head.arenas.iter().map(|(_, span)| *span);
        let fits = end <= file.metadata().ok()?.len() && head.len.is_multiple_of(PAGE);
        (fits && spans.into_iter().chain(stubs).all(inside)).then_some(head)
    }

    pub(super) fn code(&self) -> code_memory_raw::Inherited {
        code_memory_raw::Inherited {
            base: self.base,
            hot: self.hot,
            cold: self.cold,
        }
    }

    pub(super) fn read_pages(&self, file: &File) -> Option<Vec<PageEntry>> {
        let mut bytes = vec![0; self.pages.len];
        file.read_exact_at(&mut bytes, self.pages.at).ok()?;
        from_bytes(&bytes)
    }
}

/// Was it a process of this one's kin that wrote this file of code? Then nobody else did.
#[must_use]
pub fn is_of_kin(file: &File) -> bool {
    let head = Head::read(file, 0);
    head.zip(kin())
        .is_some_and(|(head, kin)| head.kin == words_of(kin))
}

fn words_of_maker(next: &mut impl FnMut() -> Option<u64>) -> Option<[u64; made_by_raw::WORDS]> {
    let mut words = [0; made_by_raw::WORDS];
    for word in &mut words {
        *word = next()?;
    }
    Some(words)
}

fn words_of(kin: Kin) -> [u64; 2] {
    let number = u128::from_le_bytes(kin.0);
    [number as u64, (number >> 64) as u64]
}

/// What goes into a file.
pub(super) struct Parts<'a> {
    pub(super) head: Head,
    pub(super) hot: &'a [u8],
    pub(super) cold: &'a [u8],
    pub(super) sites: &'a [u8],
    pub(super) links: &'a [u8],
    pub(super) pages: Vec<PageEntry>,
    pub(super) units: Vec<UnitEntry>,
    pub(super) arenas: Vec<(u64, &'a [u8])>,
}

/// Writes all of a vCPU from byte `at` on, a multiple of a page's size. Answers how many bytes.
///
/// # Errors
/// When the host cannot write it, or more was inherited than a head can say.
pub(super) fn write(file: &File, at: u64, parts: Parts<'_>) -> io::Result<u64> {
    let mut next = at + ((8 * WORDS) as u64).next_multiple_of(PAGE);
    let mut put = |bytes: &[u8]| {
        let span = Span {
            at: next,
            len: bytes.len(),
        };
        file.write_all_at(bytes, next)?;
        next += (bytes.len() as u64).next_multiple_of(PAGE);
        io::Result::Ok(span)
    };
    let mut head = Head {
        kin: kin().map_or([0; 2], words_of),
        hot: put(parts.hot)?,
        cold: put(parts.cold)?,
        sites: put(parts.sites)?,
        links: put(parts.links)?,
        pages: put(as_bytes(&parts.pages))?,
        units: put(as_bytes(&parts.units))?,
        ..parts.head
    };
    if parts.arenas.len() > ARENAS {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    for (slot, (address, bytes)) in head.arenas.iter_mut().zip(&parts.arenas) {
        *slot = (*address, put(bytes)?);
    }
    head.len = next - at;
    // A mapping ends with a page.
    file.set_len(next)?;
    file.write_all_at(as_bytes(&head.to_words()), at)?;
    Ok(head.len)
}

#[cfg(test)]
mod tests;
