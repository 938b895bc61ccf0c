//! An image's tables in memory, and the order in which their changes reach the file.
//!
//! A cluster is counted before anything points to it, and nothing points to it any more before it is
//! counted less. So whenever power fails, every cluster that a table in the file points to is counted;
//! what can be lost is storage that nothing points to, and the dirty bit tells whoever opens the image
//! next to look for that. In the order of the file's writes, with a barrier (`sync`) at each line:
//!
//! 1. data, when the guest writes it; blocks of reference counts; new tables that nothing points to
//! 2. entries of the refcount table that point to new blocks
//! 3. changed L2 tables; entries of the L1 table
//! 4. counts of clusters that nothing points to any more, which may be used again from now on
//!
//! With lazy reference counts, counts are written when the image is closed, and counted anew by the
//! next to open it when it was not. Rejected: writing tables through at each allocation, which costs
//! three writes where the guest wanted one, and still needs the barriers.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use crate::qcow2::bitmap_directory::DirectoryPlace;
use crate::qcow2::cache::{Cache, Kind};
use crate::qcow2::header::{AT_INCOMPATIBLE, DIRTY, Fixed, Header, LAZY_REFCOUNTS, OFFSET_MASK};
use crate::qcow2::layout::{COPIED, Layout};
use crate::qcow2::reserved::Reserved;
use crate::storage::Storage;

/// Clusters that wait for being free, beyond which the image flushes by itself.
const MAX_FREED: usize = 8192;

#[derive(Debug)]
pub(super) struct Tables {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) layout: Layout,
    pub(super) fixed: Fixed,
    pub(super) l1: Vec<u64>,
    pub(super) l1_dirty: BTreeSet<usize>,
    pub(super) refcount_table: Vec<u64>,
    pub(super) refcount_table_dirty: BTreeSet<usize>,
    pub(super) cache: Cache,
    pub(super) reserved: Reserved,
    /// Where the bitmaps' directory is, if there is one that counts; and, of an image that is written, the
    /// clusters that it and they are in.
    pub(super) bitmaps: Option<DirectoryPlace>,
    pub(super) bitmap_clusters: Vec<u64>,
    /// Clusters that are counted once less when the tables in the file do not point to them any more.
    pub(super) freed: Vec<u64>,
    /// No cluster before this one is free.
    pub(super) first_free: u64,
    /// Where the next compressed cluster may begin, in a cluster that has room left.
    pub(super) compressed_end: u64,
    /// Bytes of the file, as far as we know.
    pub(super) file_len: u64,
    /// A barrier failed: nobody knows what the file holds, so nothing is promised any more.
    pub(super) failed: bool,
}

impl Tables {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        header: Header,
        file_len: u64,
        write: bool,
    ) -> Tables {
        let layout = header.fixed.layout();
        let mut tables = Tables {
            storage,
            layout,
            fixed: header.fixed,
            l1: header.l1,
            l1_dirty: BTreeSet::new(),
            refcount_table: header.refcount_table,
            refcount_table_dirty: BTreeSet::new(),
            cache: Cache::default(),
            reserved: Reserved::default(),
            bitmaps: header.bitmaps,
            bitmap_clusters: Vec::new(),
            freed: Vec::new(),
            first_free: 0,
            compressed_end: 0,
            file_len,
            failed: false,
        };
        if write {
            tables.reserve();
        }
        tables
    }

    /// Finds out which clusters hold tables.
    pub(super) fn reserve(&mut self) {
        let cluster = self.layout.cluster();
        let span = |offset: u64, len: u64| offset / cluster..(offset + len).div_ceil(cluster);
        let mut clusters = vec![0];
        clusters.extend(span(self.fixed.l1_offset, self.l1.len() as u64 * 8));
        clusters.extend(span(self.fixed.refcount_offset, self.fixed.refcount_len()));
        let tables = self.l1.iter().chain(&self.refcount_table);
        clusters.extend(tables.map(|entry| (entry & OFFSET_MASK) / cluster));
        if self.fixed.snapshots > 0 {
            clusters.push(self.fixed.snapshots_offset / cluster);
        }
        clusters.extend(&self.bitmap_clusters);
        self.reserved = Reserved::new(clusters);
    }

    pub(super) fn is_lazy(&self) -> bool {
        self.layout.version >= 3 && self.fixed.compatible & LAZY_REFCOUNTS != 0
    }

    /// The L2 table of an L1 entry, and whether no snapshot has it too. None: there is none.
    pub(super) fn l2_of(&self, index: usize) -> Option<(u64, bool)> {
        let entry = self.l1.get(index).copied().unwrap_or(0);
        let offset = entry & OFFSET_MASK;
        (offset != 0).then_some((offset, entry & COPIED != 0))
    }

    pub(super) fn load_l2(&mut self, offset: u64) -> io::Result<&[u8]> {
        let len = self.layout.cluster();
        self.cache.load(&*self.storage, Kind::L2, offset, len)
    }

    /// Every entry of an L2 table.
    pub(super) fn l2_words(&mut self, offset: u64) -> io::Result<Vec<u64>> {
        Ok(super::header::words(self.load_l2(offset)?))
    }

    pub(super) fn set_l1(&mut self, index: usize, entry: u64) {
        if let Some(place) = self.l1.get_mut(index) {
            *place = entry;
            self.l1_dirty.insert(index);
        }
    }

    /// Notes in the file, before its tables change, that it is not closed.
    ///
    /// # Errors
    /// When that cannot be written, or an earlier barrier failed.
    pub(super) fn begin_change(&mut self) -> io::Result<()> {
        if self.failed {
            return Err(lost());
        }
        if self.layout.version < 3 || self.fixed.incompatible & DIRTY != 0 {
            return Ok(());
        }
        self.write_incompatible(self.fixed.incompatible | DIRTY)?;
        self.sync()
    }

    pub(super) fn write_incompatible(&mut self, bits: u64) -> io::Result<()> {
        self.storage
            .write_at(&bits.to_be_bytes(), AT_INCOMPATIBLE)?;
        self.fixed.incompatible = bits;
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.storage.sync().inspect_err(|_| self.failed = true)
    }

    pub(super) fn is_clean(&self) -> bool {
        self.l1_dirty.is_empty()
            && self.refcount_table_dirty.is_empty()
            && self.freed.is_empty()
            && self.cache.is_clean()
    }

    /// Is so much held back that it should be written before more is?
    pub(super) fn is_full(&self) -> bool {
        self.freed.len() > MAX_FREED || self.cache.is_full()
    }

    /// Brings everything to stable storage, in the order that this file's first lines say.
    ///
    /// # Errors
    /// When the host cannot; the next flush goes on from there, unless a barrier failed.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.failed {
            return Err(lost());
        }
        if self.is_clean() {
            return self.sync();
        }
        let lazy = self.is_lazy();
        let storage = Arc::clone(&self.storage);
        self.cache.write(&*storage, |kind, unlinked| match kind {
            Kind::Refcounts => unlinked || !lazy,
            Kind::L2 => unlinked,
        })?;
        self.sync()?;
        if !self.refcount_table_dirty.is_empty() {
            let (offset, dirty) = (self.fixed.refcount_offset, &mut self.refcount_table_dirty);
            write_entries(&*storage, offset, &self.refcount_table, dirty)?;
            self.sync()?;
        }
        // From here on the file may point to what was new.
        self.cache.linked();
        self.cache.write(&*storage, |kind, _| kind == Kind::L2)?;
        let (offset, dirty) = (self.fixed.l1_offset, &mut self.l1_dirty);
        write_entries(&*storage, offset, &self.l1, dirty)?;
        self.sync()?;
        self.release(lazy)
    }

    /// Counts clusters less that nothing in the file points to any more.
    fn release(&mut self, lazy: bool) -> io::Result<()> {
        let cluster = self.layout.cluster();
        while let Some(&number) = self.freed.last() {
            if self.count(number)? <= 1 && self.reserved.touches(number, 1) {
                // A damaged table held on to a cluster that is no data.
                self.freed.pop();
                continue;
            }
            let left = self.count_less(number)?;
            self.freed.pop();
            if left == 0 {
                self.cache.forget(number * cluster);
                // Of no consequence where the host cannot.
                let _ = self.storage.punch(number * cluster, cluster);
            }
        }
        if !lazy {
            let storage = Arc::clone(&self.storage);
            self.cache
                .write(&*storage, |kind, _| kind == Kind::Refcounts)?;
        }
        Ok(())
    }

    /// Flushes, and notes that the file is whole.
    ///
    /// # Errors
    /// As [`Tables::flush`]; the dirty bit stays then.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.flush()?;
        if self.fixed.incompatible & DIRTY == 0 {
            return Ok(());
        }
        let storage = Arc::clone(&self.storage);
        self.cache
            .write(&*storage, |kind, _| kind == Kind::Refcounts)?;
        self.sync()?;
        self.write_incompatible(self.fixed.incompatible & !DIRTY)?;
        self.sync()
    }
}

/// Writes entries of a table, those beside each other together.
fn write_entries(
    storage: &dyn Storage,
    offset: u64,
    table: &[u64],
    dirty: &mut BTreeSet<usize>,
) -> io::Result<()> {
    while let Some(&first) = dirty.first() {
        let run = (first..table.len()).take_while(|index| dirty.contains(index));
        let bytes: Vec<u8> = run
            .filter_map(|index| table.get(index))
            .flat_map(|entry| entry.to_be_bytes())
            .collect();
        storage.write_at(&bytes, offset + first as u64 * 8)?;
        let written = bytes.len() / 8;
        for index in first..first + written.max(1) {
            dirty.remove(&index);
        }
    }
    Ok(())
}

fn lost() -> io::Error {
    io::Error::other("an earlier write did not reach the host's storage")
}

/// A table says what cannot be.
pub(super) fn corrupt(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the image is damaged: {what}"),
    )
}
