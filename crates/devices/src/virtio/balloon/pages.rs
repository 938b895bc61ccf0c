//! Which memory the driver hands over.

use memory::{Gpa, GuestMemory, RamRange};

use crate::virtio::balloon::BALLOON_PAGE;
use crate::virtio::{Chain, Nonsense};

/// Pages of one request that are looked at. Linux names 256; the rest of a longer one stays where it is,
/// which is what a device may do with all of them.
const MOST_PAGES: usize = 16 << 10;

/// Hands the pages back whose numbers the request holds. Answers how many bytes those were.
pub(super) fn inflate(memory: &GuestMemory, chain: &Chain) -> Result<u64, Nonsense> {
    let len = usize::try_from(chain.readable_len()).unwrap_or(usize::MAX);
    let mut bytes = vec![0; (len / 4).min(MOST_PAGES) * 4];
    chain.read_at(0, &mut bytes)?;
    let words = bytes.as_chunks().0.iter();
    let mut numbers: Vec<u32> = words.map(|word| u32::from_le_bytes(*word)).collect();
    numbers.sort_unstable();
    // One call of the host's kernel for each run of neighbours.
    let runs = numbers.chunk_by(|before, after| after - before <= 1);
    let ranges = runs.filter_map(|run| {
        let (first, last) = (u64::from(*run.first()?), u64::from(*run.last()?));
        Some(RamRange {
            base: Gpa(first * BALLOON_PAGE),
            len: (last - first + 1) * BALLOON_PAGE,
        })
    });
    Ok(discard(memory, ranges))
}

/// Hands the buffers of the request back. Answers how many bytes those were.
pub(super) fn report(memory: &GuestMemory, chain: &Chain) -> u64 {
    let ranges = chain.writable_buffers().map(|(base, len)| RamRange {
        base: Gpa(base),
        len,
    });
    discard(memory, ranges)
}

/// Nobody has more to give in one request than the memory there is: what is named again and again does
/// not keep the host busy.
fn discard(memory: &GuestMemory, ranges: impl Iterator<Item = RamRange>) -> u64 {
    let all: u64 = memory.ranges().iter().map(|range| range.len).sum();
    let mut given = 0;
    for range in ranges {
        // A host that cannot take it leaves it where it is, and the guest sees no difference.
        given += memory.discard(range).unwrap_or(0);
        if given >= all {
            break;
        }
    }
    given
}
