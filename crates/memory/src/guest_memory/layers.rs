//! RAM that begins as what files hold, which are mapped rather than read: a page is the file's, and shared with
//! all who have mapped it, until the guest writes there.
//!
//! Files lie over each other: the first has all of RAM, those above it the pages that were other since. A page of
//! RAM lies in a file at the same distance from its beginning as in all RAM, ranges one behind the other, but for
//! pages that are all the same, of which the file has the first few; what no run names is zero in the first file,
//! and as below in the others. Each run that is mapped is a mapping of the
//! host's, which has only so many: the shortest runs of too many are read instead.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::GuestMemory;
use super::mapping_raw::Stretch;
use crate::{Gpa, PAGE_SIZE, RamRange};

/// Linux allows a process 65530 mappings, unless told otherwise.
pub(super) const MOST_PIECES: usize = 24_000;

/// What is mapped again and again has so many pages at least: fewer are not worth it.
pub(super) const SHORTEST_PERIOD: u64 = 16;

/// Pages one behind the other; `first` counts all pages of RAM. The file has them at the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub first: u64,
    pub count: u64,
    /// They are zero, whatever the file has there.
    pub zero: bool,
    /// After how many pages the file's begin again; the file has no more of them. As many as there are, or
    /// more, for pages that are each in the file.
    pub period: u64,
}

impl Run {
    /// Pages at their own place in the file.
    #[must_use]
    pub fn in_place(first: u64, count: u64) -> Run {
        Run {
            first,
            count,
            zero: false,
            period: count,
        }
    }

    /// How many pages of it the file has.
    fn in_file(&self) -> u64 {
        self.count.min(self.period)
    }

    /// In how many pieces it is mapped, by what each has at most.
    fn pieces(&self) -> u64 {
        match (self.zero, self.period) {
            (false, 1..) => self.count.div_ceil(self.period),
            _ => 1,
        }
    }
}

/// A file of a guest's memory, and which pages it is for. Runs are ascending and do not meet.
#[derive(Debug, Clone)]
pub struct Layer {
    pub file: Arc<File>,
    pub runs: Vec<Run>,
}

#[derive(Debug, Error)]
pub enum LayerError {
    #[error("its pages are out of order, or beyond the guest's memory")]
    Runs,
    #[error("its file ends before its last page")]
    Short,
    #[error("the host cannot map it")]
    Map(#[source] io::Error),
    #[error("the host does not tell what is missing of it")]
    Tell(#[source] io::Error),
}

impl Layer {
    /// Are the runs such as they should be, of so many pages in all?
    fn check(&self, pages: u64) -> Result<(), LayerError> {
        let len = self.file.metadata().map_err(LayerError::Map)?.len();
        let mut next = 0;
        for run in &self.runs {
            let end = run.first.saturating_add(run.count);
            let backwards = run.first < next || end > pages;
            if run.count == 0 || run.period < run.count.min(SHORTEST_PERIOD) || backwards {
                return Err(LayerError::Runs);
            }
            let source_end = run.first.saturating_add(run.in_file());
            if !run.zero && source_end.saturating_mul(PAGE_SIZE) > len {
                return Err(LayerError::Short);
            }
            next = end;
        }
        Ok(())
    }
}

impl GuestMemory {
    /// Makes RAM, which nobody has touched, what `layers` hold, the lowest first.
    ///
    /// # Errors
    /// When a layer does not fit or its file is too short; or the host does not map it. RAM is not to be used then.
    pub fn map_layers(&self, layers: &[Layer]) -> Result<(), LayerError> {
        let pages = self.ram.iter().map(|region| region.len() / PAGE_SIZE).sum();
        for layer in layers {
            layer.check(pages)?;
        }
        let shortest = shortest_of(layers);
        let mut mapped = 0;
        for layer in layers {
            for run in &layer.runs {
                mapped += self.place(layer, *run, run.in_file() >= shortest)?;
            }
        }
        self.pieces.fetch_add(mapped, Ordering::Relaxed);
        Ok(())
    }

    /// Answers in how many pieces the run was mapped.
    fn place(&self, layer: &Layer, run: Run, map: bool) -> Result<usize, LayerError> {
        let (mut page, end) = (run.first, run.first + run.count);
        let mut before = 0;
        let mut mapped = 0;
        for region in self.ram.iter() {
            let after = before + region.len() / PAGE_SIZE;
            while page < end && (before..after).contains(&page) {
                let at = Gpa(region.start_addr().0 + (page - before) * PAGE_SIZE);
                // What is repeated is mapped up to where it begins again.
                let inside = if run.zero {
                    0
                } else {
                    (page - run.first) % run.period
                };
                let whole = if run.zero {
                    run.count
                } else {
                    run.period - inside
                };
                let left = (end.min(after) - page).min(whole) * PAGE_SIZE;
                let (len, is_shared) = self.piece(at, left);
                let offset = (run.first + inside) * PAGE_SIZE;
                let range = RamRange { base: at, len };
                let done = match (is_shared, run.zero, map) {
                    (true, ..) => self.copy_shared(layer, run, offset, range),
                    (false, true, _) => self.stretch(range).and_then(Stretch::map_zeros),
                    (false, false, true) => {
                        let stretch = self.stretch(range);
                        stretch.and_then(|it| it.map_file(&*layer.file, offset))
                    }
                    (false, false, false) => self.copy_from(&layer.file, offset, len, at),
                };
                done.map_err(LayerError::Map)?;
                if let Ok(stretch) = self.stretch(range)
                    && !is_shared
                {
                    self.as_the_rest(stretch);
                }
                mapped += usize::from(map || run.zero);
                page += len / PAGE_SIZE;
            }
            before = after;
        }
        Ok(mapped)
    }

    /// Memory that is seen at several places is no file's.
    fn copy_shared(&self, layer: &Layer, run: Run, offset: u64, range: RamRange) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(range.len).map_err(io::Error::other)?];
        if !run.zero {
            layer.file.read_exact_at(&mut bytes, offset)?;
        }
        self.write_own(range.base, &bytes)
    }
}

/// The pages in whose place something is mapped: all others are as they were, or were read.
pub(super) fn mapped(layers: &[Layer]) -> Vec<Range<u64>> {
    let shortest = shortest_of(layers);
    let runs = layers.iter().flat_map(|layer| &layer.runs);
    runs.filter(|run| run.zero || run.in_file() >= shortest)
        .map(|run| run.first..run.first + run.count)
        .collect()
}

fn shortest_of(layers: &[Layer]) -> u64 {
    let runs = layers.iter().flat_map(|layer| &layer.runs);
    shortest_mapped(runs, MOST_PIECES / 2)
}

/// From what length on runs are mapped, so that they are at most so many.
fn shortest_mapped<'a>(runs: impl Iterator<Item = &'a Run>, most: usize) -> u64 {
    let mut runs: Vec<(u64, u64)> = runs.map(|run| (run.in_file(), run.pieces())).collect();
    runs.sort_unstable_by(|a, b| b.cmp(a));
    let mut pieces = 0u64;
    for (length, more) in runs {
        pieces = pieces.saturating_add(more);
        if pieces > most as u64 {
            return length + 1;
        }
    }
    0
}

#[cfg(test)]
mod tests;
