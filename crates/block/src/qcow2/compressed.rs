//! Compressed clusters: deflate without a header, or Zstandard.
//! Spec: QEMU, docs/interop/qcow2.txt, "Compressed Clusters Descriptor", "compression_type".

use std::io::{self, Read};
use std::sync::{Arc, PoisonError};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::qcow2::Qcow2Disk;
use crate::qcow2::tables::corrupt;

/// Clusters that stay unpacked, since a guest reads them in pieces.
const KEPT: usize = 8;

/// The clusters unpacked last, the newest at the end, by their place in the file.
#[derive(Debug, Default)]
pub(super) struct Unpacked(Vec<(u64, Arc<[u8]>)>);

impl Unpacked {
    fn get(&mut self, host: u64) -> Option<Arc<[u8]>> {
        let at = self.0.iter().position(|(place, _)| *place == host)?;
        let found = self.0.remove(at);
        self.0.push(found);
        self.0.last().map(|(_, bytes)| Arc::clone(bytes))
    }

    fn put(&mut self, host: u64, bytes: Arc<[u8]>) {
        if self.0.len() >= KEPT {
            self.0.remove(0);
        }
        self.0.push((host, bytes));
    }

    /// Places have been given to others.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Qcow2Disk {
    /// Reads from byte `skip` on of the compressed cluster of up to `len` bytes at `host`.
    pub(super) fn unpack(&self, host: u64, len: u64, skip: u64, buf: &mut [u8]) -> io::Result<()> {
        let kept = || self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept().get(host);
        let bytes = if let Some(bytes) = found {
            bytes
        } else {
            let bytes: Arc<[u8]> = self.unpack_whole(host, len)?.into();
            kept().put(host, Arc::clone(&bytes));
            bytes
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let piece = bytes.get(skip..).and_then(|rest| rest.get(..buf.len()));
        buf.copy_from_slice(piece.ok_or_else(|| corrupt("a compressed cluster is too short"))?);
        Ok(())
    }

    fn unpack_whole(&self, host: u64, len: u64) -> io::Result<Vec<u8>> {
        // No compressed cluster is longer than itself and a bit; an entry can claim twice that.
        let mut packed = vec![0; usize::try_from(len).unwrap_or(0)];
        self.storage.read_at(&mut packed, host)?;
        let size = usize::try_from(self.layout.cluster()).unwrap_or(0);
        if self.zstd {
            return unpack_zstd(&packed, size);
        }
        let mut out = vec![0; size];
        let mut stream = Decompress::new(false);
        // What follows the data in its last sector is not looked at: the output is full before.
        let ended = stream.decompress(&packed, &mut out, FlushDecompress::Finish);
        if ended.is_ok() && stream.total_out() == size as u64 {
            Ok(out)
        } else {
            Err(corrupt("a compressed cluster cannot be unpacked"))
        }
    }
}

fn unpack_zstd(packed: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let bad = || corrupt("a compressed cluster cannot be unpacked");
    let stream = ruzstd::decoding::StreamingDecoder::new(packed).map_err(|_| bad())?;
    let mut out = Vec::with_capacity(size);
    let read = stream.take(size as u64).read_to_end(&mut out);
    if read.is_ok() && out.len() == size {
        Ok(out)
    } else {
        Err(bad())
    }
}

/// How far back deflate may refer, as a power of two: QEMU's reader remembers no more.
const WINDOW_BITS: u8 = 12;

/// A cluster deflated; none when that would not be shorter by a sector.
pub(super) fn pack(cluster: &[u8]) -> Option<Vec<u8>> {
    let limit = cluster.len().checked_sub(512)?;
    let mut out = vec![0; limit];
    let mut stream = Compress::new_with_window_bits(Compression::default(), false, WINDOW_BITS);
    let ended = stream.compress(cluster, &mut out, FlushCompress::Finish);
    out.truncate(usize::try_from(stream.total_out()).unwrap_or(0));
    matches!(ended, Ok(Status::StreamEnd)).then_some(out)
}
