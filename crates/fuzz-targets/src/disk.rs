//! Disks: one in memory for the virtio targets, and qcow2 images that lie.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use block::BlockDevice;

use crate::Input;

/// A small disk whose requests all end at once.
#[derive(Debug)]
pub(crate) struct MemoryDisk(Mutex<Vec<u8>>);

impl MemoryDisk {
    pub(crate) fn new(len: usize) -> MemoryDisk {
        MemoryDisk(Mutex::new(vec![0; len]))
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, offset: u64, len: u64, change: impl FnOnce(&mut [u8])) -> io::Result<()> {
        block::check_range(self.len(), offset, len)?;
        let range = usize::try_from(offset).and_then(|at| Ok(at..at + usize::try_from(len)?));
        let range = range.map_err(io::Error::other)?;
        change(&mut self.bytes()[range]);
        Ok(())
    }
}

impl BlockDevice for MemoryDisk {
    fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.change(offset, buf.len() as u64, |bytes| buf.copy_from_slice(bytes))
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        self.read_at(buf, offset).map(|()| true)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.change(offset, buf.len() as u64, |bytes| bytes.copy_from_slice(buf))
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(offset, len, |bytes| bytes.fill(0))
    }

    fn write_zeroes(&self, offset: u64, len: u64, _unmap: bool) -> io::Result<()> {
        self.change(offset, len, |bytes| bytes.fill(0))
    }

    fn identify(&self) -> String {
        "memory".to_owned()
    }
}

const CLUSTER: usize = 512;

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A qcow2 of 64 KiB in clusters of 512 bytes: header, reference counts, two levels of tables, one
/// cluster of data.
pub(crate) fn image() -> Vec<u8> {
    const REFCOUNT_TABLE: usize = CLUSTER;
    const REFCOUNTS: usize = 2 * CLUSTER;
    const L1: usize = 3 * CLUSTER;
    const L2: usize = 4 * CLUSTER;
    const DATA: usize = 5 * CLUSTER;
    const OWN: u64 = 1 << 63;
    let mut image = vec![0; 6 * CLUSTER];
    let offset = |at: usize| (at as u64).to_be_bytes();
    put(&mut image, 0, b"QFI\xfb");
    put(&mut image, 4, &3u32.to_be_bytes());
    put(&mut image, 20, &9u32.to_be_bytes());
    put(&mut image, 24, &0x1_0000u64.to_be_bytes());
    put(&mut image, 36, &2u32.to_be_bytes());
    put(&mut image, 40, &offset(L1));
    put(&mut image, 48, &offset(REFCOUNT_TABLE));
    put(&mut image, 56, &1u32.to_be_bytes());
    put(&mut image, 96, &4u32.to_be_bytes());
    put(&mut image, 100, &104u32.to_be_bytes());
    put(&mut image, REFCOUNT_TABLE, &offset(REFCOUNTS));
    for cluster in 0..6 {
        put(&mut image, REFCOUNTS + cluster * 2, &1u16.to_be_bytes());
    }
    put(&mut image, L1, &(L2 as u64 | OWN).to_be_bytes());
    put(&mut image, L2, &(DATA as u64 | OWN).to_be_bytes());
    image[DATA..].fill(0x5a);
    image
}

/// That image with a bitmap: an extension of its header, a directory, a table, a cluster of bits. The disk's data
/// are the first that was written since.
fn with_bitmap() -> Vec<u8> {
    const DIRECTORY: usize = 6 * CLUSTER;
    const TABLE: usize = 7 * CLUSTER;
    const BITS: usize = 8 * CLUSTER;
    const NAME: &[u8] = b"innkeeper-seed";
    let mut image = image();
    image.resize(9 * CLUSTER, 0);
    for cluster in 6..9 {
        put(&mut image, 2 * CLUSTER + cluster * 2, &1u16.to_be_bytes());
    }
    put(&mut image, 88, &1u64.to_be_bytes());
    put(&mut image, 104, &0x2385_2875u32.to_be_bytes());
    put(&mut image, 108, &24u32.to_be_bytes());
    put(&mut image, 112, &1u32.to_be_bytes());
    put(&mut image, 120, &40u64.to_be_bytes());
    put(&mut image, 128, &(DIRECTORY as u64).to_be_bytes());
    put(&mut image, DIRECTORY, &(TABLE as u64).to_be_bytes());
    put(&mut image, DIRECTORY + 8, &1u32.to_be_bytes());
    put(&mut image, DIRECTORY + 12, &2u32.to_be_bytes());
    put(&mut image, DIRECTORY + 16, &[1, 9, 0, 14]);
    put(&mut image, DIRECTORY + 24, NAME);
    put(&mut image, TABLE, &(BITS as u64).to_be_bytes());
    image[BITS] = 0x0e;
    image
}

/// A valid image with damage, or one of the input's own making.
pub(crate) fn qcow2(bytes: &[u8]) {
    if bytes.starts_with(b"QFI\xfb") {
        let _ = block::check_qcow2(bytes);
        return;
    }
    let mut input = Input::new(bytes);
    let mut image = if input.byte() & 1 == 0 {
        image()
    } else {
        with_bitmap()
    };
    image.resize(image.len() + usize::from(input.u16() & 0x3fff), 0);
    while !input.is_empty() {
        let at = usize::from(input.u16()) % image.len();
        let value = input.number().to_be_bytes();
        let len = usize::from(input.byte() & 7) + 1;
        let len = len.min(image.len() - at);
        put(&mut image, at, &value[8 - len..]);
    }
    let _ = block::check_qcow2(&image);
}

/// The valid images themselves.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![image(), with_bitmap(), Vec::new(), vec![1]]
}
