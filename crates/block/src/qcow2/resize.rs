//! Growing and shrinking the disk.

use std::io;
use std::sync::Arc;

use crate::BlockDevice;
use crate::device::SECTOR_SIZE;
use crate::qcow2::Qcow2Disk;
use crate::qcow2::header::{AT_SIZE, MAX_L1_TABLE};
use crate::qcow2::tables::Tables;

impl Qcow2Disk {
    /// Gives the disk a capacity of `size` bytes, a multiple of [`SECTOR_SIZE`]. What is new reads as
    /// zeros; what is cut off is lost.
    ///
    /// # Errors
    /// When the size is not whole sectors, larger than the format holds, or the host cannot write. The
    /// disk then has its old size or the new one.
    pub fn resize(&self, size: u64) -> io::Result<()> {
        self.check_write(0, 0)?;
        if !size.is_multiple_of(SECTOR_SIZE) {
            let message = format!("{size} bytes are no whole sectors of {SECTOR_SIZE}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        self.drop_bitmaps()?;
        let done = self.resize_in(size);
        self.alone().give_up_unless(done)
    }

    fn resize_in(&self, size: u64) -> io::Result<()> {
        let old = self.len();
        if size < old {
            // The size first: a cut in between leaves a smaller disk, and clusters behind its end.
            self.alone().set_size(size)?;
            self.empty_between(size, old)?;
            return self.alone().flush();
        }
        let mut tables = self.alone();
        tables.grow_l1(size)?;
        drop(tables);
        // Behind the old end may be what an earlier cut left there.
        self.empty_between(old, size)?;
        let mut tables = self.alone();
        tables.flush()?;
        tables.set_size(size)
    }

    /// Makes a range outside of the disk read as zeros, should it ever be part of it.
    fn empty_between(&self, start: u64, end: u64) -> io::Result<()> {
        let cluster = self.layout.cluster();
        let mut at = start;
        while at < end {
            let mut tables = self.alone();
            let covers = self.layout.l2_covers();
            let stop = ((at / covers + 1) * covers).min(end);
            let below = self.backing.as_ref().map_or(0, |disk| disk.len());
            let there = tables.l2_of(self.layout.l1_index(at)).is_some();
            if !there && at >= below {
                at = stop;
                continue;
            }
            tables.begin_change()?;
            let table = tables.own_l2(at)?;
            let first = at.next_multiple_of(cluster);
            for offset in (first..stop).step_by(usize::try_from(cluster).unwrap_or(usize::MAX)) {
                let zero = u64::from(offset < below && self.layout.version >= 3);
                if !tables.is_hole(table, offset) || zero != 0 {
                    tables.set_entry(table, offset, zero)?;
                }
            }
            drop(tables);
            if first > at {
                // The rest of a cluster that stays.
                let zeros = vec![0; usize::try_from(first.min(stop) - at).unwrap_or(0)];
                let (place, _) = self.shared().find(at, zeros.len() as u64)?;
                let mut held = zeros.clone();
                self.fetch(place, &mut held, at)?;
                if held != zeros {
                    self.write(&zeros, at)?;
                }
            }
            at = stop;
        }
        self.forget_unpacked();
        Ok(())
    }
}

impl Tables {
    fn set_size(&mut self, size: u64) -> io::Result<()> {
        self.storage.write_at(&size.to_be_bytes(), AT_SIZE)?;
        self.fixed.size = size;
        self.sync()
    }

    /// Moves the L1 table to where it has room for a disk of `size` bytes.
    fn grow_l1(&mut self, size: u64) -> io::Result<()> {
        let wanted = size.div_ceil(self.layout.l2_covers());
        let cluster = self.layout.cluster();
        if wanted <= self.l1.len() as u64 {
            return Ok(());
        }
        if wanted * 8 > MAX_L1_TABLE || i64::try_from(size).is_err() {
            let message = format!(
                "a qcow2 with clusters of {cluster} bytes holds no more than {} bytes",
                MAX_L1_TABLE / 8 * self.layout.l2_covers()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        self.begin_change()?;
        let offset = self.allocate_row((wanted * 8).div_ceil(cluster))?;
        // The new table and what it points to are counted in the file before the header says so.
        self.flush()?;
        let mut table = self.l1.clone();
        table.resize(usize::try_from(wanted).unwrap_or(0), 0);
        self.move_l1(table, offset, self.fixed.size)
    }

    /// Makes `table`, at `offset`, the L1 table, and lets go of the clusters of the old one.
    pub(super) fn move_l1(&mut self, table: Vec<u64>, offset: u64, size: u64) -> io::Result<()> {
        let cluster = self.layout.cluster();
        let storage = Arc::clone(&self.storage);
        let mut bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        bytes.resize(
            bytes
                .len()
                .next_multiple_of(usize::try_from(cluster).unwrap_or(1)),
            0,
        );
        storage.write_at(&bytes, offset)?;
        self.sync()?;
        let entries = u32::try_from(table.len()).unwrap_or(u32::MAX);
        let mut fields = size.to_be_bytes().to_vec();
        fields.extend([0; 4]); // not encrypted
        fields.extend(entries.to_be_bytes());
        fields.extend(offset.to_be_bytes());
        storage.write_at(&fields, AT_SIZE)?;
        self.sync()?;
        let first = self.fixed.l1_offset / cluster;
        let count = (self.l1.len() as u64 * 8).div_ceil(cluster);
        (first..first + count).for_each(|it| self.reserved.remove(it));
        self.free_later(first, count);
        self.fixed.size = size;
        self.fixed.l1_offset = offset;
        self.fixed.l1_entries = entries;
        self.l1 = table;
        self.l1_dirty.clear();
        Ok(())
    }
}
