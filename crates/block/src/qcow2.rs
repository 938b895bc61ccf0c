//! qcow2 images: read and written by our own code, behind a check of everything a header claims.
//!
//! A qcow2 is a disk format whose header can ask for memory (tables of any size) and for other files
//! of the host (backing files). Both are settled before anything else: sizes against the file's length
//! and QEMU's own limits, backing files one by one, opened by us, only from the image's own directory
//! unless the user trusts the image (`open.rs`).
//!
//! Until version 0.1 this was the crate `imago` (MIT). It reads as fast (475,000 random reads of 4 KiB
//! a second where this does as many or more; `examples/random_reads.rs` measures), yet it writes
//! counts and tables without barriers between them, so that a host's power cut may leave tables that
//! point to clusters nobody counts; it knows neither snapshots, nor the dirty bit, lazy counts, checks,
//! shrinking or compressed writes. Each needs the tables themselves, so the tables are ours.
//! `tables.rs` says in which order things are written.

mod allocate;
mod bitmap_directory;
mod bitmap_slot;
mod bitmap_store;
mod bitmaps;
mod cache;
mod change;
mod check;
mod compressed;
mod create;
mod header;
mod layout;
mod read;
mod reserved;
mod resize;
mod snapshot;
mod tables;
mod write;

use std::fmt::{self, Debug};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::device::{Extent, refuse_write, round_to_sectors};
use crate::file::{ImageFile, open_image};
use crate::image::Qcow2Info;
use crate::open::{Chain, Trust};
use crate::storage::Storage;
use crate::{BlockDevice, BlockError, check_range};

pub use bitmaps::Checkpoint;
pub use check::{CheckReport, Repair};
pub(crate) use create::{NewQcow2, write_new};
pub(crate) use header::{Header, MAGIC};
pub use snapshot::SnapshotInfo;

use bitmaps::Bitmaps;
use compressed::Unpacked;
use tables::Tables;

pub struct Qcow2Disk {
    storage: Arc<dyn Storage>,
    layout: layout::Layout,
    /// Zstandard rather than deflate.
    zstd: bool,
    /// Reading and writing in place share the tables; whoever changes them has them alone.
    tables: RwLock<Tables>,
    unpacked: Mutex<Unpacked>,
    /// Taken before the tables are.
    bitmaps: RwLock<Bitmaps>,
    backing: Option<Arc<dyn BlockDevice>>,
    /// As the header has it.
    backing_name: Option<String>,
    backing_format: Option<String>,
    path: PathBuf,
    read_only: bool,
}

impl Qcow2Disk {
    /// # Errors
    /// When the file cannot be opened, is in use, is damaged, or names a backing file that is
    /// missing or not beside it.
    pub fn open(path: &Path, read_only: bool) -> Result<Qcow2Disk, BlockError> {
        let image = open_image(path, !read_only)?;
        let chain = &mut Chain::new(Trust::Beside);
        Qcow2Disk::from_image(image, read_only, chain)
    }

    /// Opens an image and what it names as backing files.
    pub(crate) fn from_image(
        image: ImageFile,
        read_only: bool,
        chain: &mut Chain,
    ) -> Result<Qcow2Disk, BlockError> {
        chain.enter(&image)?;
        let header = Header::read(&image.file, &image.path, !read_only)?;
        let backing = match &header.backing {
            None => None,
            Some(name) => {
                let format = header.backing_format(&image.path)?;
                Some(chain.open_backing(&image.path, name, format)?)
            }
        };
        Qcow2Disk::over(Arc::new(image.file), image.path, header, read_only, backing)
    }

    /// Opens an image whose header has been checked, over a backing disk that the caller opened. One
    /// that was not closed is put in order first, unless it is only read.
    pub(crate) fn over(
        storage: Arc<dyn Storage>,
        path: PathBuf,
        header: Header,
        read_only: bool,
        backing: Option<Arc<dyn BlockDevice>>,
    ) -> Result<Qcow2Disk, BlockError> {
        let failed = |source: io::Error| BlockError::Open {
            path: path.clone(),
            source,
        };
        let file_len = storage.len().map_err(failed)?;
        let zstd = header.fixed.compression == 1;
        let layout = header.fixed.layout();
        let (backing_name, backing_format) =
            (header.backing.clone(), header.backing_format.clone());
        let mut tables = Tables::new(Arc::clone(&storage), header, file_len, !read_only);
        let mut bitmaps = Bitmaps::default();
        if !read_only {
            bitmaps = tables.prepare(&path)?;
        }
        Ok(Qcow2Disk {
            storage,
            layout,
            zstd,
            tables: RwLock::new(tables),
            unpacked: Mutex::default(),
            bitmaps: RwLock::new(bitmaps),
            backing,
            backing_name,
            backing_format,
            path,
            read_only,
        })
    }

    fn shared(&self) -> RwLockReadGuard<'_, Tables> {
        // Tables are changed in steps each of which leaves them valid.
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn alone(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_write(&self, offset: u64, len: u64) -> io::Result<()> {
        if self.read_only {
            return Err(refuse_write());
        }
        check_range(self.len(), offset, len)
    }

    fn bitmaps_alone(&self) -> RwLockWriteGuard<'_, Bitmaps> {
        self.bitmaps.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// This part of the disk is just going to change.
    fn touch(&self, offset: u64, len: u64) -> io::Result<()> {
        let bitmaps = self.bitmaps.read().unwrap_or_else(PoisonError::into_inner);
        bitmaps.take_back(&*self.storage)?;
        bitmaps.mark(offset, len);
        Ok(())
    }

    /// The disk is going to be another one: no bitmap says anything of it.
    fn drop_bitmaps(&self) -> io::Result<()> {
        let mut bitmaps = self.bitmaps_alone();
        bitmaps.take_back(&*self.storage)?;
        bitmaps.drop_all();
        self.alone().store_bitmaps(&mut bitmaps)
    }

    /// Places in the file have been given to others.
    fn forget_unpacked(&self) {
        self.unpacked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// What its header and its snapshots say.
    pub(crate) fn describe(&self) -> io::Result<Qcow2Info> {
        let tables = self.shared();
        let (snapshots, _) = tables.snapshots()?;
        Ok(Qcow2Info {
            version: self.layout.version,
            cluster_size: self.layout.cluster(),
            lazy_refcounts: tables.is_lazy(),
            was_open: tables.fixed.incompatible & header::DIRTY != 0,
            zstd: self.zstd,
            backing: self.backing_name.clone(),
            backing_format: self.backing_format.clone(),
            snapshots: snapshots.into_iter().map(|it| it.info).collect(),
        })
    }

    /// Flushes, and notes in the file that it is whole. Dropping a disk does the same without saying
    /// whether it worked.
    ///
    /// # Errors
    /// When the host cannot write; the next to open the image puts it in order then.
    pub fn close(&self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        let mut bitmaps = self.bitmaps_alone();
        let mut tables = self.alone();
        // Without them all is read at the next backup, and nothing else is lost.
        let _ = tables.store_bitmaps(&mut bitmaps);
        tables.close()
    }
}

impl Debug for Qcow2Disk {
    /// Without the tables, which can have millions of entries.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qcow2Disk")
            .field("path", &self.path)
            .field("read_only", &self.read_only)
            .field("backing", &self.backing)
            .finish_non_exhaustive()
    }
}

impl Drop for Qcow2Disk {
    fn drop(&mut self) {
        // Nobody is left to be told; the dirty bit tells whoever opens the image next.
        let _ = self.close();
    }
}

impl BlockDevice for Qcow2Disk {
    fn len(&self) -> u64 {
        round_to_sectors(self.shared().fixed.size)
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(self.len(), offset, buf.len() as u64)?;
        self.read(buf, offset)
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        self.read_without_waiting(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.check_write(offset, buf.len() as u64)?;
        self.touch(offset, buf.len() as u64)?;
        self.write(buf, offset)
    }

    fn flush(&self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        let shared = self.shared();
        if !shared.failed && shared.is_clean() {
            // Only data has changed. Readers and writers in place need not wait for the host.
            let done = self.storage.sync();
            drop(shared);
            return done.inspect_err(|_| self.alone().failed = true);
        }
        drop(shared);
        self.alone().flush()
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_write(offset, len)?;
        self.touch(offset, len)?;
        self.discard_clusters(offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        self.check_write(offset, len)?;
        self.touch(offset, len)?;
        self.zero(offset, len, unmap)
    }

    fn hold(&self, held: bool) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        if !held {
            // Whoever has it next writes what we do not hear of.
            let mut bitmaps = self.bitmaps_alone();
            bitmaps.take_back(&*self.storage)?;
            bitmaps.forget_all();
        }
        self.storage.hold(held)
    }

    fn checkpoint(&self, checkpoint: &Checkpoint) -> io::Result<Option<Vec<Range<u64>>>> {
        if self.read_only || self.layout.version < 3 {
            return Ok(None);
        }
        let mut bitmaps = self.bitmaps_alone();
        bitmaps.take_back(&*self.storage)?;
        let mut tables = self.alone();
        // What is read of the file then is what it is.
        tables.flush()?;
        let since = checkpoint.since.as_deref();
        let same = match since.and_then(|name| bitmaps.find(name)) {
            Some(bits) => tables.unchanged(bits)?,
            None => Vec::new(),
        };
        bitmaps.begin(checkpoint, tables.fixed.size);
        Ok(Some(same))
    }

    fn extent(&self, offset: u64, len: u64) -> io::Result<(Extent, u64)> {
        check_range(self.len(), offset, len)?;
        self.extent_at(offset, len)
    }

    fn identify(&self) -> String {
        self.path.display().to_string()
    }
}

/// Opens `bytes` as a qcow2 without backing files and reads, writes, checks and snapshots it, for
/// fuzzing.
///
/// # Errors
/// When the header is refused. Errors of single reads and writes are none: the guest sees them.
pub fn check_qcow2(bytes: &[u8]) -> Result<(), BlockError> {
    let path = PathBuf::from("(bytes)");
    let open = |read_only: bool| -> Result<Qcow2Disk, BlockError> {
        let failed = |source: io::Error| BlockError::Open {
            path: path.clone(),
            source,
        };
        let memfd = memfd_create("qcow2", MemfdFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
        let file = std::fs::File::from(memfd);
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).map_err(failed)?;
        let header = Header::read(&file, &path, !read_only)?;
        if let Some(backing) = header.backing {
            return Err(BlockError::BackingElsewhere {
                path: path.clone(),
                backing,
            });
        }
        Qcow2Disk::over(Arc::new(file), path.clone(), header, read_only, None)
    };
    let mut piece = [0; 4096];
    let reader = open(true)?;
    let steps = [0, 1, 7, 64].map(|part| reader.len() / 65 * part / 512 * 512);
    for offset in steps {
        let _ = reader.read_at(&mut piece, offset);
        let _ = reader.extent(offset, 512.min(reader.len()));
    }
    let _ = reader.check(Repair::Nothing);
    let _ = reader.snapshots();
    let writer = open(false)?;
    for offset in steps {
        let _ = writer.write_at(&piece, offset);
        let _ = writer.discard(offset, 4096);
        let _ = writer.write_zeroes(offset, 4096, true);
        let _ = writer.read_at(&mut piece, offset);
    }
    let _ = writer.flush();
    if let Ok(names) = writer.snapshots() {
        for snapshot in names.iter().take(2) {
            let _ = writer.apply_snapshot(&snapshot.id);
            let _ = writer.delete_snapshot(&snapshot.id);
        }
    }
    let _ = writer.create_snapshot("fuzz");
    let _ = writer.write_at(&piece, 0);
    let _ = writer.resize(writer.len() + (1 << 20));
    let _ = writer.check(Repair::All);
    let checkpoint = Checkpoint {
        name: "innkeeper-fuzz".to_owned(),
        since: Some("innkeeper-seed".to_owned()),
        forget: vec!["innkeeper-seed".to_owned()],
    };
    let _ = writer.checkpoint(&checkpoint);
    let _ = writer.write_at(&piece, 0);
    let _ = writer.close();
    let _ = writer.check(Repair::Nothing);
    Ok(())
}

#[cfg(test)]
mod bitmap_tests;
#[cfg(test)]
mod power_tests;
#[cfg(test)]
mod tests;
