//! Counting clusters: finding free ones, more and less references, room in the refcount table.
//! Spec: QEMU, docs/interop/qcow2.txt, "Host cluster management".

use std::io;
use std::sync::Arc;

use crate::qcow2::cache::Kind;
use crate::qcow2::header::{AT_REFCOUNT_TABLE, MAX_REFCOUNT_TABLE, OFFSET_MASK};
use crate::qcow2::layout::{count_at, count_bytes};
use crate::qcow2::tables::{Tables, corrupt};

impl Tables {
    fn block_of(&self, cluster: u64) -> (usize, u64) {
        let per_block = self.layout.counts_per_block();
        let block = usize::try_from(cluster / per_block).unwrap_or(usize::MAX);
        (block, cluster % per_block)
    }

    /// Where the block of counts is, when there is one.
    fn block_at(&self, block: usize) -> Option<u64> {
        let entry = self.refcount_table.get(block).copied().unwrap_or(0);
        let offset = entry & OFFSET_MASK;
        (offset != 0).then_some(offset)
    }

    fn load_block(&mut self, offset: u64) -> io::Result<&[u8]> {
        let len = self.layout.cluster();
        self.cache
            .load(&*self.storage, Kind::Refcounts, offset, len)
    }

    /// References to a cluster of the file.
    pub(super) fn count(&mut self, cluster: u64) -> io::Result<u64> {
        let (block, index) = self.block_of(cluster);
        let Some(offset) = self.block_at(block) else {
            return Ok(0);
        };
        let order = self.layout.refcount_order;
        Ok(count_at(self.load_block(offset)?, index, order))
    }

    /// Sets a count, where there is a block for it.
    pub(super) fn set_count(&mut self, cluster: u64, count: u64) -> io::Result<()> {
        let (block, index) = self.block_of(cluster);
        if self.block_at(block).is_none() {
            if count == 0 {
                return Ok(());
            }
            self.make_block_elsewhere(block)?;
        }
        let Some(offset) = self.block_at(block) else {
            return Err(corrupt("a block of reference counts is missing"));
        };
        let order = self.layout.refcount_order;
        let (at, bytes) = count_bytes(self.load_block(offset)?, index, order, count);
        self.cache.change(offset, at, &bytes);
        if count == 0 {
            self.first_free = self.first_free.min(cluster);
            if self.compressed_end / self.layout.cluster() == cluster {
                self.compressed_end = 0;
            }
        }
        Ok(())
    }

    pub(super) fn count_more(&mut self, cluster: u64) -> io::Result<()> {
        let count = self.count(cluster)?;
        if count >= self.layout.greatest_count() {
            return Err(io::Error::other("too many snapshots share a cluster"));
        }
        self.set_count(cluster, count + 1)
    }

    /// Answers the references that are left.
    pub(super) fn count_less(&mut self, cluster: u64) -> io::Result<u64> {
        // One that is not counted is a matter for a check; the file has it no longer, either way.
        let left = self.count(cluster)?.saturating_sub(1);
        self.set_count(cluster, left)?;
        Ok(left)
    }

    /// The clusters are counted less as soon as the tables in the file have changed.
    pub(super) fn free_later(&mut self, first: u64, count: u64) {
        self.freed.extend(first..first + count);
    }

    /// Takes up to `wanted` free clusters that follow each other: the first, and how many.
    ///
    /// # Errors
    /// When a block of counts cannot be read, or counts a table of the image as free.
    pub(super) fn allocate(&mut self, wanted: u64) -> io::Result<(u64, u64)> {
        let (first, len) = self.find_free(wanted)?;
        if self.reserved.touches(first, len) {
            return Err(corrupt("a table's cluster is counted as free"));
        }
        for cluster in first..first + len {
            self.set_count(cluster, 1)?;
        }
        self.first_free = first + len;
        Ok((first, len))
    }

    /// Takes exactly so many clusters in a row, at the end of the file, for a table.
    pub(super) fn allocate_row(&mut self, wanted: u64) -> io::Result<u64> {
        let cluster = self.layout.cluster();
        let end = self.file_len.div_ceil(cluster).max(self.first_free);
        let mut first = end;
        // Blocks of counts that are made on the way lie in the row, and make it begin anew.
        let mut at = first;
        while at < first + wanted {
            let (block, _) = self.block_of(at);
            if self.block_at(block).is_none() {
                self.make_block(at)?;
            }
            if self.count(at)? != 0 {
                first = at + 1;
            }
            at += 1;
        }
        for number in first..first + wanted {
            self.set_count(number, 1)?;
            self.reserved.add(number);
        }
        if let Err(error) = self.lengthen((first + wanted) * cluster) {
            for number in first..first + wanted {
                self.set_count(number, 0)?;
                self.reserved.remove(number);
            }
            return Err(error);
        }
        Ok(first * cluster)
    }

    fn find_free(&mut self, wanted: u64) -> io::Result<(u64, u64)> {
        let order = self.layout.refcount_order;
        let per_block = self.layout.counts_per_block();
        let mut at = self.first_free;
        loop {
            let (block, index) = self.block_of(at);
            let Some(offset) = self.block_at(block) else {
                self.make_block(at)?;
                continue;
            };
            let bytes = self.load_block(offset)?;
            let free = (index..per_block).find(|&it| count_at(bytes, it, order) == 0);
            let Some(found) = free else {
                at = (block as u64 + 1) * per_block;
                self.first_free = at;
                continue;
            };
            let run = (found..per_block.min(found + wanted.max(1)))
                .take_while(|&it| count_at(bytes, it, order) == 0);
            return Ok((block as u64 * per_block + found, run.count() as u64));
        }
    }

    /// Makes the missing block that counts `cluster`, which becomes the block itself: a block that
    /// counts itself needs no other.
    fn make_block(&mut self, cluster: u64) -> io::Result<()> {
        let (block, index) = self.block_of(cluster);
        if block >= self.refcount_table.len() {
            return self.grow_refcount_table(block);
        }
        let size = self.layout.cluster();
        if self.reserved.touches(cluster, 1) {
            return Err(corrupt("a table's cluster is counted as free"));
        }
        let offset = cluster * size;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let order = self.layout.refcount_order;
        let (at, count) = count_bytes(&bytes, index, order, 1);
        for (to, from) in bytes.iter_mut().skip(at).zip(count) {
            *to = from;
        }
        self.lengthen(offset + size)?;
        self.cache.create(Kind::Refcounts, offset, bytes);
        self.refcount_table[block] = offset;
        self.refcount_table_dirty.insert(block);
        self.reserved.add(cluster);
        Ok(())
    }

    /// Makes a missing block for clusters some of which hold something, so that none of them can be
    /// the block: at the end of the file, where all are free.
    fn make_block_elsewhere(&mut self, block: usize) -> io::Result<()> {
        if block >= self.refcount_table.len() {
            self.grow_refcount_table(block)?;
        }
        if self.block_at(block).is_some() {
            return Ok(());
        }
        let offset = self.allocate_row(1)?;
        if self.block_at(block).is_none() {
            let len = usize::try_from(self.layout.cluster()).unwrap_or(0);
            self.cache.create(Kind::Refcounts, offset, vec![0; len]);
            self.refcount_table[block] = offset;
            self.refcount_table_dirty.insert(block);
        } else {
            // The row lay in the block's own range, and has made it.
            let spare = offset / self.layout.cluster();
            self.set_count(spare, 0)?;
            self.reserved.remove(spare);
        }
        Ok(())
    }

    /// Moves the refcount table to the end of the file with room for block number `block` and half
    /// as many more. The clusters that the new table lies in are counted by blocks that it points
    /// to, which lie behind it.
    fn grow_refcount_table(&mut self, block: usize) -> io::Result<()> {
        let size = self.layout.cluster();
        let per_block = self.layout.counts_per_block();
        let entries = (block as u64 + 1) * 3 / 2;
        let table_clusters = (entries * 8).div_ceil(size);
        if table_clusters * size > MAX_REFCOUNT_TABLE {
            return Err(io::Error::other(
                "the image has no room for more reference counts",
            ));
        }
        let entries = table_clusters * size / 8;
        let start = self.file_len.div_ceil(size).max(block as u64 * per_block);
        // Blocks that count the new table and themselves.
        let first_block = start / per_block;
        let mut blocks = 1;
        while start + table_clusters + blocks > (first_block + blocks) * per_block {
            blocks += 1;
        }
        if first_block + blocks > entries {
            return Err(io::Error::other(
                "the image has no room for more reference counts",
            ));
        }
        let used = start..start + table_clusters + blocks;
        let order = self.layout.refcount_order;
        let mut table = self.refcount_table.clone();
        table.resize(usize::try_from(entries).unwrap_or(0), 0);
        for number in 0..blocks {
            let which = first_block + number;
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            for cluster in used.clone().filter(|cluster| cluster / per_block == which) {
                let (at, count) = count_bytes(&bytes, cluster % per_block, order, 1);
                for (to, from) in bytes.iter_mut().skip(at).zip(count) {
                    *to = from;
                }
            }
            let offset = (start + table_clusters + number) * size;
            self.storage.write_at(&bytes, offset)?;
            table[usize::try_from(which).unwrap_or(0)] = offset;
        }
        // New blocks of before are in memory still, and must be in the file before the table is.
        let storage = Arc::clone(&self.storage);
        self.cache
            .write(&*storage, |kind, _| kind == Kind::Refcounts)?;
        let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        self.storage.write_at(&bytes, start * size)?;
        self.sync()?;
        let mut place = (start * size).to_be_bytes().to_vec();
        let clusters = u32::try_from(table_clusters).unwrap_or(u32::MAX);
        place.extend(clusters.to_be_bytes());
        self.storage.write_at(&place, AT_REFCOUNT_TABLE)?;
        self.sync()?;
        let old = self.fixed.refcount_offset / size;
        let old_clusters = u64::from(self.fixed.refcount_clusters);
        self.fixed.refcount_offset = start * size;
        self.fixed.refcount_clusters = clusters;
        self.refcount_table = table;
        self.refcount_table_dirty.clear();
        self.file_len = self.file_len.max(used.end * size);
        used.for_each(|cluster| self.reserved.add(cluster));
        (old..old + old_clusters).for_each(|cluster| self.reserved.remove(cluster));
        self.free_later(old, old_clusters);
        Ok(())
    }

    /// Makes the file at least so long.
    pub(super) fn lengthen(&mut self, len: u64) -> io::Result<()> {
        if len > self.file_len {
            self.storage.set_len(len)?;
            self.file_len = len;
        }
        Ok(())
    }
}
