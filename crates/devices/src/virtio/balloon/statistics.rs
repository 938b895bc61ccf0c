//! What a guest tells of its memory. Spec: VIRTIO 1.2, "Memory Statistics Tags".

use crate::virtio::{Chain, Nonsense};

/// `struct virtio_balloon_stat`: a tag of 16 bits and a value of 64, packed.
const ENTRY: usize = 10;
/// More than any driver tells.
const MOST: usize = 64;

/// The guest's own figures, none of them to be relied on. Amounts of memory in bytes, events as counts
/// since it booted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct MemoryStatistics {
    pub swapped_in: Option<u64>,
    pub swapped_out: Option<u64>,
    pub major_faults: Option<u64>,
    pub minor_faults: Option<u64>,
    /// Used for nothing.
    pub free: Option<u64>,
    pub total: Option<u64>,
    /// What programs could have without swapping.
    pub available: Option<u64>,
    /// Copies of files, which can be dropped.
    pub caches: Option<u64>,
    pub huge_page_allocations: Option<u64>,
    pub huge_page_failures: Option<u64>,
}

impl MemoryStatistics {
    pub(super) fn read(chain: &Chain) -> Result<MemoryStatistics, Nonsense> {
        let len = usize::try_from(chain.readable_len()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(MOST * ENTRY)];
        chain.read_at(0, &mut bytes)?;
        let mut found = MemoryStatistics::default();
        for entry in bytes.as_chunks::<ENTRY>().0 {
            let [low, high, value @ ..] = entry;
            if let Some(field) = found.field(u16::from_le_bytes([*low, *high])) {
                *field = Some(u64::from_le_bytes(*value));
            }
        }
        Ok(found)
    }

    /// `None` for tags that are not known here.
    fn field(&mut self, tag: u16) -> Option<&mut Option<u64>> {
        Some(match tag {
            0 => &mut self.swapped_in,
            1 => &mut self.swapped_out,
            2 => &mut self.major_faults,
            3 => &mut self.minor_faults,
            4 => &mut self.free,
            5 => &mut self.total,
            6 => &mut self.available,
            7 => &mut self.caches,
            8 => &mut self.huge_page_allocations,
            9 => &mut self.huge_page_failures,
            _ => return None,
        })
    }
}
