//! Which clusters of the file hold the image's own tables: no data may ever be written there,
//! whatever a damaged or hostile table says.

use std::collections::BTreeSet;

/// Numbers of clusters.
#[derive(Debug, Default)]
pub(super) struct Reserved {
    /// Those that were there when the image was opened, in order; there may be very many.
    first: Vec<u64>,
    added: BTreeSet<u64>,
    removed: BTreeSet<u64>,
}

impl Reserved {
    pub(super) fn new(mut clusters: Vec<u64>) -> Reserved {
        clusters.sort_unstable();
        clusters.dedup();
        Reserved {
            first: clusters,
            ..Reserved::default()
        }
    }

    pub(super) fn add(&mut self, cluster: u64) {
        self.removed.remove(&cluster);
        self.added.insert(cluster);
    }

    pub(super) fn remove(&mut self, cluster: u64) {
        self.added.remove(&cluster);
        if self.first.binary_search(&cluster).is_ok() {
            self.removed.insert(cluster);
        }
    }

    /// Is one of `first..first + count` reserved?
    pub(super) fn touches(&self, first: u64, count: u64) -> bool {
        let end = first.saturating_add(count);
        if self.added.range(first..end).next().is_some() {
            return true;
        }
        let from = self.first.partition_point(|&cluster| cluster < first);
        let rest = self.first.get(from..).unwrap_or_default();
        rest.iter()
            .take_while(|&&cluster| cluster < end)
            .any(|cluster| !self.removed.contains(cluster))
    }
}
