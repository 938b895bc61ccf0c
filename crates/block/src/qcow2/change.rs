//! Discarding and zeroing: whole clusters by their entries, parts of them by writing zeros.

use std::io;

use crate::BlockDevice;
use crate::qcow2::Qcow2Disk;
use crate::qcow2::layout::{Entry, ZERO};
use crate::qcow2::read::Place;
use crate::qcow2::tables::Tables;

/// Zeros are written in pieces of this size, bytes.
const ZEROS: usize = 64 << 10;

impl Qcow2Disk {
    /// Gives the storage of whole clusters back. They read as zeros afterwards, or as before where
    /// the format cannot say so.
    pub(super) fn discard_clusters(&self, offset: u64, len: u64) -> io::Result<()> {
        let size = self.layout.cluster();
        let start = offset.next_multiple_of(size);
        // The last cluster may be cut by the disk's end.
        let end = offset + len;
        let end = if end == self.len() {
            end.next_multiple_of(size)
        } else {
            end / size * size
        };
        if start >= end || (self.layout.version < 3 && self.backing.is_some()) {
            return Ok(());
        }
        self.clear(start, end)
    }

    /// Makes the range read as zeros.
    pub(super) fn zero(&self, offset: u64, len: u64, _unmap: bool) -> io::Result<()> {
        let size = self.layout.cluster();
        let end = offset + len;
        let whole_start = offset.next_multiple_of(size);
        let whole_end = if end == self.len() {
            end.next_multiple_of(size)
        } else {
            end / size * size
        };
        if whole_start >= whole_end || (self.layout.version < 3 && self.backing.is_some()) {
            return self.write_zeros(offset, end);
        }
        self.write_zeros(offset, whole_start)?;
        self.clear(whole_start, whole_end)?;
        self.write_zeros(whole_end.min(end), end)
    }

    /// Whole clusters: they hold on to nothing any more and read as zeros.
    fn clear(&self, start: u64, end: u64) -> io::Result<()> {
        let size = self.layout.cluster();
        // Without a backing disk, a hole is all that is needed. Version 2 knows nothing else.
        let empty = if self.backing.is_some() { ZERO } else { 0 };
        let mut at = start;
        while at < end {
            // One table at a time, so that others are not kept waiting for long.
            let mut tables = self.alone();
            let stop = (at / self.layout.l2_covers() + 1) * self.layout.l2_covers();
            let stop = stop.min(end);
            let there = tables.l2_of(self.layout.l1_index(at)).is_some();
            if !there && empty == 0 {
                at = stop;
                continue;
            }
            tables.begin_change()?;
            if tables.is_full() {
                tables.flush()?;
            }
            let table = tables.own_l2(at)?;
            for offset in (at..stop).step_by(usize::try_from(size).unwrap_or(usize::MAX)) {
                let index = self.layout.l2_index(offset);
                if tables.entry(table, index) != empty {
                    tables.set_entry(table, offset, empty)?;
                }
            }
            drop(tables);
            at = stop;
        }
        self.forget_unpacked();
        Ok(())
    }

    fn write_zeros(&self, start: u64, end: u64) -> io::Result<()> {
        let zeros = [0; ZEROS];
        let mut at = start;
        while at < end {
            let (place, len) = self.place_of(at, end - at)?;
            let empty = place == Place::Zero || (place == Place::Hole && self.backing.is_none());
            let len = if empty { len } else { len.min(ZEROS as u64) };
            if !empty {
                self.write(&zeros[..usize::try_from(len).unwrap_or(ZEROS)], at)?;
            }
            at += len;
        }
        Ok(())
    }

    fn place_of(&self, offset: u64, len: u64) -> io::Result<(Place, u64)> {
        loop {
            let tables = self.shared();
            let found = tables.find(offset, len)?;
            let Place::Unknown { table } = found.0 else {
                return Ok(found);
            };
            drop(tables);
            self.alone().load_l2(table)?;
        }
    }
}

impl Tables {
    /// Does any table say that this cluster is more than a hole?
    pub(super) fn is_hole(&self, table: u64, offset: u64) -> bool {
        let index = self.layout.l2_index(offset);
        self.layout.decode(self.entry(table, index)) == Entry::Hole
    }
}
