//! A qcow2 that what an overlay holds is copied to: to lie over the same base later, so nothing of that is in it.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::qcow2::{Header, NewQcow2, Qcow2Disk, write_new};
use crate::storage::Storage;
use crate::{BlockDevice, BlockError};

/// A cluster has 2 to the power of this bytes: an overlay's block, unless the disk is too large for that.
const CLUSTER_BITS: [u32; 3] = [12, 16, 21];

/// A new disk in the empty file `to`, over `base`. Nobody waits for stable storage there.
///
/// # Errors
/// When the host cannot write.
pub(super) fn create(base: &Arc<dyn BlockDevice>, to: &File) -> io::Result<Qcow2Disk> {
    let storage = Unsteady(to.try_clone()?);
    let mut made = Ok(());
    for cluster_bits in CLUSTER_BITS {
        let new = NewQcow2 {
            size: base.len(),
            cluster_bits,
            lazy_refcounts: false,
            backing: None,
        };
        made = write_new(&storage, &new);
        if made.is_ok() {
            break;
        }
    }
    made?;
    let path = PathBuf::from("a copy of an overlay");
    let opened = Header::read(&storage, &path, true).and_then(|header| {
        let base = Some(Arc::clone(base));
        Qcow2Disk::over(Arc::new(storage), path, header, false, base)
    });
    opened.map_err(|error: BlockError| io::Error::other(error))
}

/// A file whose content need not outlast the host.
#[derive(Debug)]
struct Unsteady(File);

impl Storage for Unsteady {
    fn len(&self) -> io::Result<u64> {
        Storage::len(&self.0)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        Storage::read_at(&self.0, buf, offset)
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        Storage::read_now(&self.0, buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        Storage::write_at(&self.0, buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Storage::set_len(&self.0, len)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        Storage::punch(&self.0, offset, len)
    }
}
