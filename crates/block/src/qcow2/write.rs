//! Writing: in place where a cluster is the image's alone, into new clusters everywhere else.

use std::io;

use crate::qcow2::Qcow2Disk;
use crate::qcow2::cache::Kind;
use crate::qcow2::compressed::pack;
use crate::qcow2::layout::COPIED;
use crate::qcow2::read::Place;
use crate::qcow2::tables::{Tables, corrupt};

/// Clusters that were just allocated, in a row.
struct NewRun {
    host: u64,
    clusters: u64,
    fresh: bool,
}

impl Tables {
    /// The L2 table for `offset`, of our own and in memory: made, or copied from a snapshot's, where
    /// it is not.
    pub(super) fn own_l2(&mut self, offset: u64) -> io::Result<u64> {
        let index = self.layout.l1_index(offset);
        if index >= self.l1.len() {
            return Err(corrupt("the L1 table is too short"));
        }
        let size = self.layout.cluster();
        let bytes = match self.l2_of(index) {
            Some((table, true)) => {
                self.load_l2(table)?;
                return Ok(table);
            }
            Some((table, false)) => self.load_l2(table)?.to_vec(),
            None => vec![0; usize::try_from(size).unwrap_or(0)],
        };
        let old = self.l2_of(index);
        let (cluster, _) = self.allocate(1)?;
        let table = cluster * size;
        if let Err(error) = self.lengthen(table + size) {
            self.set_count(cluster, 0)?;
            return Err(error);
        }
        self.cache.create(Kind::L2, table, bytes);
        self.reserved.add(cluster);
        self.set_l1(index, table | COPIED);
        if let Some((table, _)) = old {
            // A snapshot's from now on, and no concern of ours.
            self.reserved.remove(table / size);
            self.free_later(table / size, 1);
        }
        Ok(table)
    }

    pub(super) fn entry(&self, table: u64, index: usize) -> u64 {
        let bytes = self.cache.get(table).unwrap_or_default();
        let word = bytes.get(index * 8..index * 8 + 8);
        word.and_then(|word| word.try_into().ok())
            .map_or(0, u64::from_be_bytes)
    }

    /// Changes the entry of `offset` in a table of our own, and lets go of what it held on to.
    pub(super) fn set_entry(&mut self, table: u64, offset: u64, entry: u64) -> io::Result<()> {
        self.load_l2(table)?;
        let index = self.layout.l2_index(offset);
        let old = self.layout.decode(self.entry(table, index));
        self.cache.change(table, index * 8, &entry.to_be_bytes());
        let held = self.layout.holds(old);
        if held != self.layout.holds(self.layout.decode(entry))
            && let Some((first, count)) = held
        {
            self.free_later(first, count);
        }
        Ok(())
    }
}

impl Qcow2Disk {
    pub(super) fn write(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let (at, rest) = (offset + done as u64, &buf[done..]);
            done += match self.write_in_place(rest, at)? {
                0 => self.write_anew(rest, at)?,
                written => written,
            };
        }
        Ok(())
    }

    /// Writes what begins in clusters of our own. Answers how many bytes that was.
    fn write_in_place(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let tables = self.shared();
        let (place, len) = tables.find(offset, buf.len() as u64)?;
        match place {
            Place::Data { at, own: true } => {
                tables.check_data(at, len)?;
                let len = usize::try_from(len).unwrap_or(buf.len());
                self.storage.write_at(&buf[..len], at)?;
                Ok(len)
            }
            Place::Unknown { table } => {
                drop(tables);
                self.alone().load_l2(table)?;
                self.write_in_place(buf, offset)
            }
            _ => Ok(0),
        }
    }

    /// Writes what begins in clusters that are not our own yet, into new ones. Answers how many
    /// bytes that was.
    fn write_anew(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut tables = self.alone();
        tables.begin_change()?;
        if tables.is_full() {
            tables.flush()?;
        }
        let size = tables.layout.cluster();
        let table = tables.own_l2(offset)?;
        let (place, len) = tables.find(offset, buf.len() as u64)?;
        if matches!(place, Place::Data { own: true, .. }) {
            // Somebody else was faster.
            drop(tables);
            return self.write_in_place(buf, offset);
        }
        let skip = offset % size;
        let old_end = tables.file_len.div_ceil(size);
        let (first, count) = tables.allocate((skip + len).div_ceil(size))?;
        let len = len.min(count * size - skip);
        // Blocks of counts may have taken its place in memory.
        tables.load_l2(table)?;
        let data = &buf[..usize::try_from(len).unwrap_or(buf.len())];
        let run = NewRun {
            host: first * size,
            clusters: count,
            // What lies behind the file's end reads as zeros already.
            fresh: first >= old_end,
        };
        if let Err(error) = self.fill(&mut tables, &run, data, offset) {
            for cluster in first..first + count {
                tables.set_count(cluster, 0)?;
            }
            return Err(error);
        }
        for number in 0..count {
            let entry = (run.host + number * size) | COPIED;
            tables.set_entry(table, offset - skip + number * size, entry)?;
        }
        self.forget_unpacked();
        Ok(data.len())
    }

    /// Writes `data` to new clusters, with what the disk showed before and after it in the first and
    /// the last of them.
    fn fill(&self, tables: &mut Tables, run: &NewRun, data: &[u8], offset: u64) -> io::Result<()> {
        let size = tables.layout.cluster();
        let skip = offset % size;
        let end = offset + data.len() as u64;
        let rest = end.next_multiple_of(size) - end;
        for (from, len, host) in [
            (offset - skip, skip, run.host),
            (end, rest, run.host + skip + data.len() as u64),
        ] {
            if len == 0 {
                continue;
            }
            let mut old = vec![0; usize::try_from(len).unwrap_or(0)];
            let (place, _) = tables.find(from, len)?;
            self.fetch(place, &mut old, from)?;
            if !run.fresh || old.iter().any(|&byte| byte != 0) {
                self.storage.write_at(&old, host)?;
            }
        }
        self.storage.write_at(data, run.host + skip)?;
        tables.file_len = tables.file_len.max(run.host + skip + data.len() as u64);
        tables.lengthen(run.host + run.clusters * size)
    }

    /// Gives what begins at `offset` clusters in the file, which hold zeros as long as they were
    /// never anything else. For images that are being made. Answers of how many bytes it was.
    pub(crate) fn place(&self, offset: u64, len: u64) -> io::Result<u64> {
        let mut tables = self.alone();
        tables.begin_change()?;
        if tables.is_full() {
            tables.flush()?;
        }
        let size = tables.layout.cluster();
        let table = tables.own_l2(offset)?;
        let covers = tables.layout.l2_covers();
        let wanted = len.min(covers - offset % covers).div_ceil(size);
        let (first, count) = tables.allocate(wanted)?;
        tables.lengthen((first + count) * size)?;
        for number in 0..count {
            let entry = ((first + number) * size) | COPIED;
            tables.set_entry(table, offset + number * size, entry)?;
        }
        Ok((count * size).min(len))
    }

    /// Writes a whole cluster compressed, or as it is where that gains nothing. For images that are
    /// being made: what was there before is let go.
    ///
    /// # Errors
    /// When `offset` is not a cluster's, or the host cannot write.
    pub(crate) fn write_compressed(&self, cluster: &[u8], offset: u64) -> io::Result<()> {
        self.check_write(offset, cluster.len() as u64)?;
        self.touch(offset, cluster.len() as u64)?;
        let size = self.layout.cluster();
        let whole = offset.is_multiple_of(size) && cluster.len() as u64 == size;
        let packed = if whole && !self.zstd {
            pack(cluster)
        } else {
            None
        };
        let Some(packed) = packed else {
            return self.write(cluster, offset);
        };
        let mut tables = self.alone();
        tables.begin_change()?;
        if tables.is_full() {
            tables.flush()?;
        }
        let table = tables.own_l2(offset)?;
        let (host, len) = tables.allocate_bytes(packed.len() as u64)?;
        let entry = tables.layout.encode_compressed(host, packed.len() as u64);
        let entry = entry.ok_or_else(|| io::Error::other("the image is too long to compress"))?;
        let written = self.storage.write_at(&packed, host);
        let written = written.and_then(|()| tables.lengthen((host + len).next_multiple_of(size)));
        if let Err(error) = written {
            tables.count_less(host / size)?;
            return Err(error);
        }
        tables.set_entry(table, offset, entry)?;
        self.forget_unpacked();
        Ok(())
    }
}

impl Tables {
    /// No data lies outside the file, or where a table is.
    fn check_data(&self, at: u64, len: u64) -> io::Result<()> {
        let size = self.layout.cluster();
        let end = at
            .checked_add(len)
            .ok_or_else(|| corrupt("a cluster's place"))?;
        if end > self.file_len.next_multiple_of(size) {
            return Err(corrupt("a cluster lies outside the file"));
        }
        let first = at / size;
        if self.reserved.touches(first, end.div_ceil(size) - first) {
            return Err(corrupt("a cluster lies where a table is"));
        }
        Ok(())
    }

    /// Room for `len` compressed bytes behind the last ones, or else in a new cluster: none spans
    /// two, which would have to follow each other.
    fn allocate_bytes(&mut self, len: u64) -> io::Result<(u64, u64)> {
        let size = self.layout.cluster();
        let used = self.compressed_end % size;
        let shared = used != 0 && used + len <= size;
        let cluster = self.compressed_end / size;
        let host = if shared && self.count(cluster)? < self.layout.greatest_count() {
            self.count_more(cluster)?;
            self.compressed_end
        } else {
            self.allocate(1)?.0 * size
        };
        self.compressed_end = host + len;
        Ok((host, len))
    }
}
