//! An image's bitmaps in its file: reading them when it is opened, writing them when it is closed.
//!
//! They are written to clusters of their own, then the header leads to them, then the old ones are free. The
//! header says with one bit whether what it says of bitmaps holds; it does not while that changes.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::qcow2::bitmap_directory::{
    AUTO, DirectoryPlace, FlagPlace, IN_USE, Listed, Piece, parse,
};
use crate::qcow2::bitmaps::{Bitmap, Bitmaps, Bits};
use crate::qcow2::header::{AT_AUTOCLEAR, AUTOCLEAR_BITMAPS, words};
use crate::qcow2::tables::{Tables, corrupt};

/// Bytes of bits that we keep up for others; what is more stays in use.
const MAX_BYTES: u64 = 64 << 20;

impl Tables {
    /// Reads the entries of the directory, and the clusters that it is in.
    pub(super) fn bitmap_directory(&self) -> io::Result<Vec<(Listed, FlagPlace)>> {
        let Some(place) = self.bitmaps else {
            return Ok(Vec::new());
        };
        if !place.fits(self.layout.cluster(), self.file_len) {
            return Err(corrupt("its bitmaps lie outside the file"));
        }
        let mut bytes = vec![0; usize::try_from(place.len).unwrap_or(0)];
        self.storage.read_at(&mut bytes, place.offset)?;
        parse(&bytes, place.count, place.offset)
            .ok_or_else(|| corrupt("its directory of bitmaps makes no sense"))
    }

    /// The entries of a bitmap's table.
    pub(super) fn bitmap_table(&self, listed: &Listed) -> io::Result<Vec<u64>> {
        let len = u64::from(listed.entries) * 8;
        let end = listed.table.checked_add(len);
        let inside = end.is_some_and(|end| end <= self.file_len.next_multiple_of(8));
        let whole = listed.table.is_multiple_of(self.layout.cluster());
        if !inside || !whole {
            return Err(corrupt("a bitmap lies outside the file"));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.storage.read_at(&mut bytes, listed.table)?;
        Ok(words(&bytes))
    }

    /// The clusters that so many bytes from `offset` on are in.
    fn span(&self, offset: u64, len: u64) -> std::ops::Range<u64> {
        let size = self.layout.cluster();
        offset / size..(offset + len).div_ceil(size)
    }

    /// Reads an image's bitmaps, before it is written to. Those that make no sense count no more.
    ///
    /// # Errors
    /// When the host cannot read or write.
    pub(super) fn load_bitmaps(&mut self) -> io::Result<Bitmaps> {
        let Some(place) = self.bitmaps else {
            return Ok(Bitmaps::default());
        };
        match self.read_bitmaps(place) {
            Ok(bitmaps) => Ok(bitmaps),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.bitmaps = None;
                self.bitmap_clusters.clear();
                self.set_autoclear(0)?;
                Ok(Bitmaps::default())
            }
            Err(error) => Err(error),
        }
    }

    fn read_bitmaps(&mut self, place: DirectoryPlace) -> io::Result<Bitmaps> {
        let size = self.layout.cluster();
        let mut bitmaps = Bitmaps {
            directory: self.bitmap_directory_clusters(place),
            ..Bitmaps::default()
        };
        let mut left = MAX_BYTES;
        let mut seen = HashSet::new();
        let mut all = bitmaps.directory.clone();
        for (listed, flags) in self.bitmap_directory()? {
            let table = self.bitmap_table(&listed)?;
            let mut clusters: Vec<u64> = self
                .span(listed.table, u64::from(listed.entries) * 8)
                .collect();
            for &entry in &table {
                if let Piece::At(offset) = Piece::decode(entry) {
                    if !offset.is_multiple_of(size) || offset >= self.file_len {
                        return Err(corrupt("a bitmap lies outside the file"));
                    }
                    clusters.push(offset / size);
                }
            }
            all.extend(&clusters);
            let bytes = Bits::count(listed.granularity_bits.min(63), self.fixed.size).div_ceil(8);
            let fits = bytes.div_ceil(size) == table.len() as u64 && bytes <= left;
            let mut bits = None;
            if listed.counts() {
                bitmaps.promises.push(flags);
                if listed.is_known() && fits {
                    left -= bytes;
                    bits = Some(self.read_bits(&listed, &table)?);
                }
            }
            if listed.is_lost() {
                bitmaps.dropped.append(&mut clusters);
                continue;
            }
            bitmaps.list.push(Bitmap {
                listed,
                bits,
                clusters,
            });
        }
        // What is a bitmap is nothing else, and only one.
        let shared = |&cluster: &u64| !seen.insert(cluster) || self.reserved.touches(cluster, 1);
        if all.iter().any(shared) {
            return Err(corrupt("a bitmap lies where something else is"));
        }
        all.iter().for_each(|&cluster| self.reserved.add(cluster));
        self.bitmap_clusters = all;
        Ok(bitmaps)
    }

    fn bitmap_directory_clusters(&self, place: DirectoryPlace) -> Vec<u64> {
        match place.fits(self.layout.cluster(), self.file_len) {
            true => self.span(place.offset, place.len).collect(),
            false => Vec::new(),
        }
    }

    fn read_bits(&self, listed: &Listed, table: &[u64]) -> io::Result<Bits> {
        let size = usize::try_from(self.layout.cluster()).unwrap_or(0);
        let bits = Bits::new(listed.granularity_bits, self.fixed.size);
        let mut bytes = vec![0; size];
        for (words, &entry) in bits.words().chunks(size / 8).zip(table) {
            match Piece::decode(entry) {
                Piece::Zeros => continue,
                Piece::Ones => bytes.fill(0xff),
                Piece::At(offset) => self.storage.read_at(&mut bytes, offset)?,
            }
            for (word, bytes) in words.iter().zip(bytes.as_chunks::<8>().0) {
                word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
            }
        }
        Ok(bits)
    }

    fn set_autoclear(&mut self, bits: u64) -> io::Result<()> {
        self.storage.write_at(&bits.to_be_bytes(), AT_AUTOCLEAR)?;
        self.fixed.autoclear = bits;
        self.sync()
    }

    /// Writes the bitmaps to the file, which is whole then again. Nobody writes to the disk meanwhile.
    ///
    /// # Errors
    /// When the host cannot: the file has none that count then.
    pub(super) fn store_bitmaps(&mut self, bitmaps: &mut Bitmaps) -> io::Result<()> {
        if !bitmaps.in_use.load(Ordering::Acquire) {
            return Ok(());
        }
        if bitmaps.list.is_empty() && bitmaps.directory.is_empty() {
            bitmaps.in_use.store(false, Ordering::Release);
            return Ok(());
        }
        self.begin_change()?;
        let slot = self.bitmap_slot()?;
        let mut taken = Vec::new();
        let written = self.write_bitmaps(bitmaps, &mut taken);
        let (place, clusters) = match written {
            Ok(written) => written,
            Err(error) => {
                for cluster in taken {
                    self.reserved.remove(cluster);
                    self.free_later(cluster, 1);
                }
                return Err(error);
            }
        };
        // The clusters are counted before anything leads to them.
        let led = self
            .flush()
            .and_then(|()| self.lead_to_bitmaps(slot, place));
        self.give_up_unless(led)?;
        let mut old = std::mem::take(&mut bitmaps.dropped);
        old.append(&mut bitmaps.directory);
        bitmaps.promises.clear();
        for (number, clusters) in clusters.bitmaps {
            let bitmap = &mut bitmaps.list[number];
            old.append(&mut std::mem::replace(&mut bitmap.clusters, clusters));
        }
        bitmaps.directory = clusters.directory;
        for cluster in old {
            self.reserved.remove(cluster);
            self.free_later(cluster, 1);
        }
        self.bitmap_clusters = bitmaps.directory.clone();
        for bitmap in &bitmaps.list {
            self.bitmap_clusters.extend(&bitmap.clusters);
        }
        let written = self.bitmap_directory()?;
        bitmaps.promises.extend(
            written
                .iter()
                .filter(|(listed, _)| listed.counts())
                .map(|(_, place)| *place),
        );
        bitmaps.in_use.store(false, Ordering::Release);
        self.flush()
    }

    fn lead_to_bitmaps(&mut self, slot: u64, place: Option<DirectoryPlace>) -> io::Result<()> {
        self.set_autoclear(0)?;
        self.bitmaps = None;
        self.write_bitmap_slot(slot, place)?;
        self.sync()?;
        if place.is_some() {
            self.set_autoclear(AUTOCLEAR_BITMAPS)?;
        }
        self.bitmaps = place;
        Ok(())
    }

    /// Writes all to clusters that nothing leads to yet. `taken` has them, also after an error.
    fn write_bitmaps(
        &mut self,
        bitmaps: &mut Bitmaps,
        taken: &mut Vec<u64>,
    ) -> io::Result<(Option<DirectoryPlace>, Clusters)> {
        let mut clusters = Clusters::default();
        let mut directory = Vec::new();
        for (number, bitmap) in bitmaps.list.iter_mut().enumerate() {
            let listed = &mut bitmap.listed;
            let Some(bits) = &bitmap.bits else {
                if listed.flags & AUTO != 0 {
                    listed.flags |= IN_USE;
                }
                listed.write(&mut directory);
                continue;
            };
            let begin = taken.len();
            let table = self.write_bits(bits, taken)?;
            listed.entries = u32::try_from(table.len()).unwrap_or(u32::MAX);
            let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
            listed.table = self.write_row(&bytes, taken)?;
            listed.flags &= !IN_USE;
            listed.write(&mut directory);
            clusters.bitmaps.push((number, taken[begin..].to_vec()));
        }
        if directory.is_empty() {
            return Ok((None, clusters));
        }
        let begin = taken.len();
        let place = DirectoryPlace {
            count: u32::try_from(bitmaps.list.len()).unwrap_or(u32::MAX),
            len: directory.len() as u64,
            offset: self.write_row(&directory, taken)?,
        };
        clusters.directory = taken[begin..].to_vec();
        Ok((Some(place), clusters))
    }

    /// The entries of the table of what was written.
    fn write_bits(&mut self, bits: &Bits, taken: &mut Vec<u64>) -> io::Result<Vec<u64>> {
        let size = usize::try_from(self.layout.cluster()).unwrap_or(0);
        let mut table = Vec::new();
        for words in bits.words().chunks(size / 8) {
            let words = words.iter().map(|word| word.load(Ordering::Relaxed));
            let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
            let piece = if bytes.iter().all(|&byte| byte == 0) {
                Piece::Zeros
            } else {
                bytes.resize(size, 0);
                Piece::At(self.write_row(&bytes, taken)?)
            };
            table.push(piece.encode());
        }
        Ok(table)
    }

    fn write_row(&mut self, bytes: &[u8], taken: &mut Vec<u64>) -> io::Result<u64> {
        let size = self.layout.cluster();
        let count = (bytes.len() as u64).div_ceil(size);
        let offset = self.allocate_row(count)?;
        taken.extend(offset / size..offset / size + count);
        // What was there before must not be taken for bits.
        let mut whole = bytes.to_vec();
        whole.resize(usize::try_from(count * size).unwrap_or(0), 0);
        Arc::clone(&self.storage).write_at(&whole, offset)?;
        Ok(offset)
    }
}

/// Where things were written: each bitmap's by its number, and the directory.
#[derive(Debug, Default)]
struct Clusters {
    bitmaps: Vec<(usize, Vec<u64>)>,
    directory: Vec<u64>,
}
