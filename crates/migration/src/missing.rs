//! Which pages come when the guest runs already, as a frame has it: runs of them, each the number of its first page
//! and how many there are.

use std::io::Write;

use memory::PageSet;

use crate::frame::{self, Body, FrameError, Kind};

/// Runs in one frame.
const MOST_RUNS: usize = 4096;
const RUN: usize = 16;

/// Says which pages are missing, in at least one frame.
///
/// # Errors
/// When the other side has gone or does not read.
pub(crate) fn say(to: &mut impl Write, missing: &PageSet) -> Result<(), FrameError> {
    let runs = missing.runs();
    let mut frames = runs.chunks(MOST_RUNS);
    // Also where there are none.
    let first = frames.next().unwrap_or_default();
    for runs in std::iter::once(first).chain(frames) {
        let mut body = Vec::with_capacity(runs.len() * RUN);
        for run in runs {
            body.extend(run.start.to_le_bytes());
            body.extend((run.end - run.start).to_le_bytes());
        }
        frame::write(to, Kind::Missing, &body)?;
    }
    Ok(())
}

/// Adds what a frame says.
///
/// # Errors
/// When it names pages that there could not be.
pub(crate) fn take(body: &[u8], missing: &mut PageSet) -> Result<(), FrameError> {
    if body.len() > MOST_RUNS * RUN {
        return Err(FrameError::Nonsense("too many runs of pages in one frame"));
    }
    let mut body = Body(body);
    while !body.0.is_empty() {
        let (first, count) = (body.u64()?, body.u64()?);
        let end = first.saturating_add(count);
        if end > missing.all() {
            return Err(FrameError::Nonsense("a page beyond the guest's memory"));
        }
        for page in first..end {
            // So all frames together take no longer than there are pages.
            if missing.contains(page) {
                return Err(FrameError::Nonsense("a page is missing twice"));
            }
            missing.insert(page);
        }
    }
    Ok(())
}
