//! Snapshots inside of an image: an L1 table each, which shares tables and clusters with the disk's.
//! Spec: QEMU, docs/interop/qcow2.txt, "Snapshots".
//!
//! Counts and L1 tables change in many places at once. The dirty bit is set meanwhile, so that whoever
//! opens the image after a cut counts anew; the header's fields make the step from the old to the new.

use std::collections::HashSet;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::qcow2::Qcow2Disk;
use crate::qcow2::header::{AT_SNAPSHOTS, MAX_L1_TABLE, OFFSET_MASK, words};
use crate::qcow2::layout::{COMPRESSED, COPIED, Entry};
use crate::qcow2::tables::{Tables, corrupt};

/// QEMU's limits.
const MAX_SNAPSHOTS: u32 = 65_536;
const MAX_TABLE: usize = 64 << 20;
const FIXED: usize = 40;

/// A snapshot inside of an image, as its table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    pub id: String,
    pub name: String,
    /// When it was taken: seconds since 1970.
    pub date: u32,
    /// Bytes of memory that were saved with it.
    pub memory: u64,
    /// Capacity of the disk then, bytes.
    pub size: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) l1_offset: u64,
    pub(super) l1_entries: u32,
    nanoseconds: u32,
    clock: u64,
    /// What follows in the extra data, kept as it is.
    extra: Vec<u8>,
    pub(super) info: SnapshotInfo,
}

impl Snapshot {
    /// Parses one; the bytes that it takes.
    fn parse(bytes: &[u8], disk: u64) -> Option<(Snapshot, usize)> {
        let u16_at = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let (id_len, name_len) = (usize::from(u16_at(12)?), usize::from(u16_at(14)?));
        let extra_len = usize::try_from(u32_at(36)?).ok()?;
        let extra = bytes.get(FIXED..FIXED.checked_add(extra_len)?)?.to_vec();
        let id_at = FIXED + extra_len;
        let text = |at: usize, len: usize| {
            Some(String::from_utf8_lossy(bytes.get(at..at + len)?).into_owned())
        };
        let mut memory = u64::from(u32_at(32)?);
        let mut size = disk;
        if extra_len >= 8 {
            memory = u64_at(FIXED)?;
        }
        if extra_len >= 16 {
            size = u64_at(FIXED + 8)?;
        }
        let snapshot = Snapshot {
            l1_offset: u64_at(0)?,
            l1_entries: u32_at(8)?,
            nanoseconds: u32_at(20)?,
            clock: u64_at(24)?,
            extra,
            info: SnapshotInfo {
                id: text(id_at, id_len)?,
                name: text(id_at + id_len, name_len)?,
                date: u32_at(16)?,
                memory,
                size,
            },
        };
        let len = (id_at + id_len + name_len).next_multiple_of(8);
        Some((snapshot, len))
    }

    fn write(&self, to: &mut Vec<u8>) {
        let (id, name) = (self.info.id.as_bytes(), self.info.name.as_bytes());
        let len_of = |text: &[u8]| u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
        to.extend(self.l1_offset.to_be_bytes());
        to.extend(self.l1_entries.to_be_bytes());
        to.extend(len_of(id));
        to.extend(len_of(name));
        to.extend(self.info.date.to_be_bytes());
        to.extend(self.nanoseconds.to_be_bytes());
        to.extend(self.clock.to_be_bytes());
        to.extend(u32::try_from(self.info.memory).unwrap_or(0).to_be_bytes());
        to.extend(u32::try_from(self.extra.len()).unwrap_or(0).to_be_bytes());
        to.extend(&self.extra);
        to.extend(id);
        to.extend(name);
        to.resize(to.len().next_multiple_of(8), 0);
    }
}

impl Tables {
    /// The snapshots, and the bytes of their table.
    pub(super) fn snapshots(&self) -> io::Result<(Vec<Snapshot>, u64)> {
        if self.fixed.snapshots > MAX_SNAPSHOTS {
            return Err(corrupt("it has too many snapshots"));
        }
        if self.fixed.snapshots == 0 {
            return Ok((Vec::new(), 0));
        }
        let there = self.file_len.saturating_sub(self.fixed.snapshots_offset);
        let len = usize::try_from(there).map_or(MAX_TABLE, |len| len.min(MAX_TABLE));
        // Most are short; a table of the greatest length is read only where it has to be.
        let mut bytes = vec![0; len.min(1 << 16)];
        self.storage
            .read_at(&mut bytes, self.fixed.snapshots_offset)?;
        let mut found = Vec::new();
        let mut at = 0;
        for _ in 0..self.fixed.snapshots {
            let rest = bytes.get(at..).unwrap_or_default();
            let mut parsed = Snapshot::parse(rest, self.fixed.size);
            if parsed.is_none() && bytes.len() < len {
                bytes.resize(len, 0);
                self.storage
                    .read_at(&mut bytes, self.fixed.snapshots_offset)?;
                parsed = Snapshot::parse(bytes.get(at..).unwrap_or_default(), self.fixed.size);
            }
            let (snapshot, len) =
                parsed.ok_or_else(|| corrupt("its table of snapshots is cut off"))?;
            found.push(snapshot);
            at += len;
        }
        Ok((found, at as u64))
    }

    /// The L1 table of a snapshot.
    pub(super) fn snapshot_l1(&self, snapshot: &Snapshot) -> io::Result<Vec<u64>> {
        let len = u64::from(snapshot.l1_entries) * 8;
        let end = snapshot.l1_offset.checked_add(len);
        let inside = end.is_some_and(|end| end <= self.file_len) && len <= MAX_L1_TABLE;
        if !inside || !snapshot.l1_offset.is_multiple_of(self.layout.cluster()) {
            return Err(corrupt("a snapshot's L1 table lies outside the file"));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.storage.read_at(&mut bytes, snapshot.l1_offset)?;
        Ok(words(&bytes))
    }

    /// Counts all that an L1 table leads to once more, or once less.
    fn count_all(&mut self, l1: &[u64], more: bool) -> io::Result<()> {
        let size = self.layout.cluster();
        let mut seen = HashSet::new();
        for entry in l1 {
            let table = entry & OFFSET_MASK;
            if table == 0 {
                continue;
            }
            // Tables that are there twice would make this endless.
            if !table.is_multiple_of(size) || table >= self.file_len || !seen.insert(table) {
                return Err(corrupt("an L1 entry"));
            }
            let mut held: Vec<u64> = Vec::new();
            for word in self.l2_words(table)? {
                if let Some((first, count)) = self.layout.holds(self.layout.decode(word)) {
                    held.extend(first..first + count);
                }
            }
            held.push(table / size);
            for cluster in held {
                if cluster * size >= self.file_len.next_multiple_of(size) {
                    return Err(corrupt("a cluster lies outside the file"));
                }
                if more {
                    self.count_more(cluster)?;
                } else {
                    self.free_later(cluster, 1);
                }
            }
            if self.cache.is_full() || self.freed.len() > 1 << 20 {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// COPIED flags of the disk's tables that say otherwise than the counts do: how many, and with
    /// `set` they are made right.
    pub(super) fn copied_flags(&mut self, set: bool) -> io::Result<u64> {
        let size = self.layout.cluster();
        let mut changed = 0;
        for index in 0..self.l1.len() {
            let Some((table, flag)) = self.l2_of(index) else {
                continue;
            };
            let own = self.count(table / size)? == 1;
            if own != flag {
                changed += 1;
                if set {
                    self.set_l1(index, table | if own { COPIED } else { 0 });
                }
            }
            for (number, word) in self.l2_words(table)?.into_iter().enumerate() {
                let own = match self.layout.decode(word) {
                    Entry::Data { host, .. } | Entry::Zero { host: Some(host) } => {
                        self.count(host / size)? == 1
                    }
                    _ => false,
                };
                let right = word & !COPIED | if own { COPIED } else { 0 };
                if word != right && (word & COMPRESSED == 0 || word & COPIED != 0) {
                    changed += 1;
                    if !set {
                        continue;
                    }
                    self.load_l2(table)?;
                    self.cache.change(table, number * 8, &right.to_be_bytes());
                }
            }
            if set && self.cache.is_full() {
                self.flush()?;
            }
        }
        Ok(changed)
    }

    /// After a failure in the middle of many changes, the image is left to whoever opens it next: its
    /// dirty bit stays. What was refused before anything changed is no failure.
    pub(super) fn give_up_unless<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done
            && !matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::NotFound
            )
        {
            self.failed = true;
        }
        done
    }

    /// Writes a new table of snapshots and makes it the image's.
    fn replace_snapshots(&mut self, snapshots: &[Snapshot]) -> io::Result<()> {
        let size = self.layout.cluster();
        let (_, old_len) = self.snapshots()?;
        let mut bytes = Vec::new();
        for snapshot in snapshots {
            snapshot.write(&mut bytes);
        }
        let offset = if bytes.is_empty() {
            0
        } else {
            let offset = self.allocate_row((bytes.len() as u64).div_ceil(size))?;
            self.storage.write_at(&bytes, offset)?;
            offset
        };
        self.flush()?;
        let count = u32::try_from(snapshots.len()).unwrap_or(u32::MAX);
        let mut fields = count.to_be_bytes().to_vec();
        fields.extend(offset.to_be_bytes());
        self.storage.write_at(&fields, AT_SNAPSHOTS)?;
        self.sync()?;
        let old = self.fixed.snapshots_offset / size;
        if old_len > 0 {
            let clusters = old_len.div_ceil(size);
            (old..old + clusters).for_each(|it| self.reserved.remove(it));
            self.free_later(old, clusters);
        }
        self.fixed.snapshots = count;
        self.fixed.snapshots_offset = offset;
        Ok(())
    }
}

impl Qcow2Disk {
    /// The snapshots inside of the image, in the order of their table.
    ///
    /// # Errors
    /// When their table is damaged or cannot be read.
    pub fn snapshots(&self) -> io::Result<Vec<SnapshotInfo>> {
        let (found, _) = self.shared().snapshots()?;
        Ok(found.into_iter().map(|snapshot| snapshot.info).collect())
    }

    /// Keeps the disk as it is now under `name`.
    ///
    /// # Errors
    /// When the name is taken, or the host cannot write.
    pub fn create_snapshot(&self, name: &str) -> io::Result<()> {
        self.check_write(0, 0)?;
        let mut tables = self.alone();
        let done = self.create_in(&mut tables, name);
        tables.give_up_unless(done)
    }

    fn create_in(&self, tables: &mut Tables, name: &str) -> io::Result<()> {
        let (mut all, _) = tables.snapshots()?;
        let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidInput, message);
        if all
            .iter()
            .any(|it| it.info.name == name || it.info.id == name)
        {
            return Err(invalid(format!("there is a snapshot {name:?} already")));
        }
        if name.is_empty() || name.len() > 1023 {
            return Err(invalid("a snapshot's name has 1 to 1023 bytes".into()));
        }
        let taken = all.iter().filter_map(|it| it.info.id.parse::<u64>().ok());
        let id = taken.max().unwrap_or(0).saturating_add(1).to_string();
        tables.begin_change()?;
        tables.flush()?;
        let l1 = tables.l1.clone();
        tables.count_all(&l1, true)?;
        let size = tables.layout.cluster();
        let bytes: Vec<u8> = l1
            .iter()
            .flat_map(|entry| (entry & !COPIED).to_be_bytes())
            .collect();
        let offset = tables.allocate_row((bytes.len().max(1) as u64).div_ceil(size))?;
        tables.storage.write_at(&bytes, offset)?;
        tables.copied_flags(true)?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let disk = tables.fixed.size;
        let mut extra = 0u64.to_be_bytes().to_vec();
        extra.extend(disk.to_be_bytes());
        all.push(Snapshot {
            l1_offset: offset,
            l1_entries: tables.fixed.l1_entries,
            nanoseconds: now.subsec_nanos(),
            clock: 0,
            extra,
            info: SnapshotInfo {
                id,
                name: name.to_owned(),
                date: u32::try_from(now.as_secs()).unwrap_or(u32::MAX),
                memory: 0,
                size: disk,
            },
        });
        tables.replace_snapshots(&all)?;
        tables.close()
    }

    /// Makes the disk what it was when a snapshot was taken; its size too. What it was until now is
    /// lost unless another snapshot has it.
    ///
    /// # Errors
    /// When there is no such name or number, or the host cannot write.
    pub fn apply_snapshot(&self, name: &str) -> io::Result<()> {
        self.check_write(0, 0)?;
        let (all, _) = self.alone().snapshots()?;
        find(&all, name)?;
        self.drop_bitmaps()?;
        let mut tables = self.alone();
        let done = self.apply_in(&mut tables, name);
        tables.give_up_unless(done)
    }

    fn apply_in(&self, tables: &mut Tables, name: &str) -> io::Result<()> {
        let (all, _) = tables.snapshots()?;
        let snapshot = find(&all, name)?.clone();
        let mut l1 = tables.snapshot_l1(&snapshot)?;
        let disk = snapshot.info.size;
        let covered = (l1.len() as u64).saturating_mul(tables.layout.l2_covers());
        if disk > covered || i64::try_from(disk).is_err() {
            return Err(corrupt("a snapshot's L1 table is too short"));
        }
        tables.begin_change()?;
        tables.flush()?;
        tables.count_all(&l1, true)?;
        let old = tables.l1.clone();
        let size = tables.layout.cluster();
        l1.iter_mut().for_each(|entry| *entry &= !COPIED);
        let offset = tables.allocate_row((l1.len().max(1) as u64 * 8).div_ceil(size))?;
        tables.flush()?;
        tables.move_l1(l1, offset, disk)?;
        tables.reserve();
        tables.count_all(&old, false)?;
        tables.flush()?;
        tables.copied_flags(true)?;
        self.forget_unpacked();
        tables.close()
    }

    /// Lets a snapshot go.
    ///
    /// # Errors
    /// When there is no such name or number, or the host cannot write.
    pub fn delete_snapshot(&self, name: &str) -> io::Result<()> {
        self.check_write(0, 0)?;
        let mut tables = self.alone();
        let done = self.delete_in(&mut tables, name);
        tables.give_up_unless(done)
    }

    fn delete_in(&self, tables: &mut Tables, name: &str) -> io::Result<()> {
        let (mut all, _) = tables.snapshots()?;
        let snapshot = find(&all, name)?.clone();
        let l1 = tables.snapshot_l1(&snapshot)?;
        tables.begin_change()?;
        all.retain(|other| other.info != snapshot.info);
        tables.replace_snapshots(&all)?;
        tables.count_all(&l1, false)?;
        let size = tables.layout.cluster();
        let clusters = (l1.len() as u64 * 8).div_ceil(size);
        tables.free_later(snapshot.l1_offset / size, clusters);
        tables.flush()?;
        tables.copied_flags(true)?;
        tables.reserve();
        tables.close()
    }
}

/// By its name, or else by its number, as it is listed.
fn find<'a>(all: &'a [Snapshot], name: &str) -> io::Result<&'a Snapshot> {
    let by_name = all.iter().find(|it| it.info.name == name);
    let found = by_name.or_else(|| all.iter().find(|it| it.info.id == name));
    found.ok_or_else(|| {
        let message = format!("there is no snapshot {name:?}");
        io::Error::new(io::ErrorKind::NotFound, message)
    })
}
