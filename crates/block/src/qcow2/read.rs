//! Reading: from the tables to runs of bytes that lie together in one place.

use std::io;
use std::sync::TryLockError;

use crate::device::{Extent, check_range, round_to_sectors};
use crate::qcow2::Qcow2Disk;
use crate::qcow2::layout::Entry;
use crate::qcow2::tables::{Tables, corrupt};

/// Where a run of the disk's bytes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Hole,
    Zero,
    /// From this offset of the file on; `own`: no snapshot has it too.
    Data {
        at: u64,
        own: bool,
    },
    /// In a compressed cluster at `host`, from `skip` on.
    Compressed {
        host: u64,
        len: u64,
        skip: u64,
    },
    /// The L2 table at this offset must be read first.
    Unknown {
        table: u64,
    },
}

impl Tables {
    /// Where the bytes from `offset` on are, and how many of up to `len` are together.
    pub(super) fn find(&self, offset: u64, len: u64) -> io::Result<(Place, u64)> {
        let layout = self.layout;
        let in_table = (layout.l2_covers() - offset % layout.l2_covers()).min(len);
        let Some((table, own_table)) = self.l2_of(layout.l1_index(offset)) else {
            return Ok((Place::Hole, in_table));
        };
        let Some(bytes) = self.cache.get(table) else {
            return Ok((Place::Unknown { table }, in_table));
        };
        let entry = |index: usize| {
            let word = bytes.get(index * 8..index * 8 + 8);
            let word = word.and_then(|word| word.try_into().ok());
            layout.decode(word.map_or(0, u64::from_be_bytes))
        };
        let first = layout.l2_index(offset);
        let cluster = layout.cluster();
        let skip = offset % cluster;
        let place = match entry(first) {
            Entry::Hole => Place::Hole,
            Entry::Zero { .. } => Place::Zero,
            Entry::Data { host, own } => {
                if !host.is_multiple_of(cluster) {
                    return Err(corrupt("a cluster's place is not aligned"));
                }
                Place::Data {
                    at: host + skip,
                    own: own && own_table,
                }
            }
            Entry::Compressed { host, len } => Place::Compressed { host, len, skip },
        };
        let mut run = cluster - skip;
        let mut index = first + 1;
        while run < in_table {
            let continues = match (place, entry(index)) {
                (Place::Hole, Entry::Hole) | (Place::Zero, Entry::Zero { .. }) => true,
                (Place::Data { at, own }, Entry::Data { host, own: also }) => {
                    host == at + run && own == (also && own_table)
                }
                _ => false,
            };
            if !continues {
                break;
            }
            run += cluster;
            index += 1;
        }
        Ok((place, run.min(in_table)))
    }
}

impl Qcow2Disk {
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let tables = self.shared();
            let rest = &mut buf[done..];
            let (place, len) = tables.find(offset + done as u64, rest.len() as u64)?;
            if let Place::Unknown { table } = place {
                drop(tables);
                self.alone().load_l2(table)?;
                continue;
            }
            let len = usize::try_from(len).unwrap_or(rest.len());
            self.fetch(place, &mut rest[..len], offset + done as u64)?;
            done += len;
        }
        Ok(())
    }

    /// Reads a run whose place is known. Whoever calls it holds the tables, so that the place stays
    /// what it is.
    pub(super) fn fetch(&self, place: Place, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match place {
            Place::Hole => self.read_backing(buf, offset),
            Place::Data { at, .. } => self.storage.read_at(buf, at),
            Place::Compressed { host, len, skip } => self.unpack(host, len, skip, buf),
            Place::Zero | Place::Unknown { .. } => {
                buf.fill(0);
                Ok(())
            }
        }
    }

    /// What the backing disk has; behind its end, and without one, zeros.
    pub(super) fn read_backing(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let below = self.backing.as_ref();
        let inside = below.map_or(0, |disk| disk.len().saturating_sub(offset));
        let inside = usize::try_from(inside).map_or(buf.len(), |len| len.min(buf.len()));
        let (data, rest) = buf.split_at_mut(inside);
        rest.fill(0);
        match below {
            Some(disk) if !data.is_empty() => disk.read_at(data, offset),
            _ => Ok(()),
        }
    }

    pub(super) fn read_without_waiting(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        let tables = match self.tables.try_read() {
            Ok(tables) => tables,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody changes the tables, or waits for storage to hold them.
            Err(TryLockError::WouldBlock) => return Ok(false),
        };
        check_range(
            round_to_sectors(tables.fixed.size),
            offset,
            buf.len() as u64,
        )?;
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let rest = &mut buf[done..];
            let (place, len) = tables.find(at, rest.len() as u64)?;
            let len = usize::try_from(len).unwrap_or(rest.len());
            let piece = &mut rest[..len];
            let ready = match place {
                Place::Zero => {
                    piece.fill(0);
                    true
                }
                Place::Data { at, .. } => self.storage.read_now(piece, at)?,
                Place::Hole => match &self.backing {
                    None => {
                        piece.fill(0);
                        true
                    }
                    Some(disk) if at + len as u64 <= disk.len() => disk.read_now(piece, at)?,
                    Some(_) => false,
                },
                Place::Compressed { .. } | Place::Unknown { .. } => false,
            };
            if !ready {
                return Ok(false);
            }
            done += len;
        }
        Ok(true)
    }

    pub(super) fn extent_at(&self, offset: u64, len: u64) -> io::Result<(Extent, u64)> {
        if len == 0 {
            return Ok((Extent::Data, 0));
        }
        loop {
            let tables = self.shared();
            let (place, len) = tables.find(offset, len)?;
            match place {
                Place::Unknown { table } => {
                    drop(tables);
                    self.alone().load_l2(table)?;
                }
                Place::Zero => return Ok((Extent::Zero, len)),
                Place::Data { .. } => return Ok((Extent::Data, len)),
                // One cluster at a time: the next is elsewhere.
                Place::Compressed { .. } => return Ok((Extent::Data, len)),
                Place::Hole => {
                    let below = self.backing.as_ref().filter(|disk| offset < disk.len());
                    return match below {
                        None => Ok((Extent::Hole, len)),
                        Some(disk) => disk.extent(offset, len.min(disk.len() - offset)),
                    };
                }
            }
        }
    }
}
