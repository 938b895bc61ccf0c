//! A new stream-optimised vmdk: grains compressed one behind the other, tables behind what they lead to, so that it
//! is written from front to end. It is what OVF packages have in them.
//! Spec: VMware, "Virtual Disk Format 5.0", "Stream-Optimized Compressed Sparse Extents".

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::SECTOR;

/// A grain, which is compressed as one, in sectors and bytes.
const GRAIN_SECTORS: u64 = 128;
pub(crate) const GRAIN: usize = 64 << 10;
const PER_TABLE: usize = 512;
/// Sectors in front of the first grain: the header, and the descriptor.
const OVERHEAD: u64 = 128;
const DESCRIPTOR_AT: u64 = 1;
const DESCRIPTOR_SECTORS: u64 = 20;
const VERSION: u32 = 3;
/// Line ends can be tested, grains are compressed, and there are markers.
const FLAGS: u32 = 1 | 1 << 16 | 1 << 17;
const AT_END: u64 = u64::MAX;
const DEFLATE: u16 = 1;
const MARKER_END: u32 = 0;
const MARKER_TABLE: u32 = 1;
const MARKER_DIRECTORY: u32 = 2;
const MARKER_FOOTER: u32 = 3;
/// Of a table's place: 32 bits of sectors.
const TOO_LONG: &str = "a vmdk of this kind holds no more than 2 TiB of compressed data";

/// Takes the grains of a disk in their order, and leaves out those that are zeros.
pub(crate) struct StreamWriter<W: Write> {
    out: W,
    /// Sectors that were written.
    at: u64,
    capacity: u64,
    table: Vec<u32>,
    /// The number of the table that is being filled, and where those before are.
    number: usize,
    directory: Vec<u32>,
}

impl<W: Write> StreamWriter<W> {
    /// `size` in bytes, whole sectors; `name` is what the descriptor calls the file.
    pub(crate) fn new(out: W, size: u64, name: &str) -> io::Result<StreamWriter<W>> {
        let capacity = size.div_ceil(SECTOR);
        let tables = capacity.div_ceil(GRAIN_SECTORS * PER_TABLE as u64);
        let tables = usize::try_from(tables).map_err(|_| io::Error::other(TOO_LONG))?;
        let mut writer = StreamWriter {
            out,
            at: 0,
            capacity,
            table: vec![0; PER_TABLE],
            number: 0,
            directory: vec![0; tables],
        };
        writer.put(&header(capacity, AT_END))?;
        let mut text = descriptor(capacity, name).into_bytes();
        text.resize(usize::try_from(DESCRIPTOR_SECTORS * SECTOR).unwrap_or(0), 0);
        writer.put(&text)?;
        let rest = OVERHEAD - DESCRIPTOR_AT - DESCRIPTOR_SECTORS;
        writer.put(&vec![0; usize::try_from(rest * SECTOR).unwrap_or(0)])?;
        Ok(writer)
    }

    /// The grain at `offset`, bytes, which lies behind all that were given before.
    pub(crate) fn grain(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        if data.iter().all(|&byte| byte == 0) {
            return Ok(());
        }
        let grain = usize::try_from(offset / GRAIN as u64).unwrap_or(usize::MAX);
        if grain / PER_TABLE != self.number {
            self.finish_table()?;
            self.number = grain / PER_TABLE;
        }
        self.table[grain % PER_TABLE] = self.sector()?;
        let mut packed = Vec::with_capacity(GRAIN / 2);
        packed.extend((offset / SECTOR).to_le_bytes());
        packed.extend([0; 4]);
        let mut encoder = ZlibEncoder::new(packed, Compression::default());
        encoder.write_all(data)?;
        // The disk's end may cut the last one, and others want it whole.
        encoder.write_all(&vec![0; GRAIN.saturating_sub(data.len())])?;
        let mut packed = encoder.finish()?;
        let len = u32::try_from(packed.len() - 12).unwrap_or(u32::MAX);
        packed[8..12].copy_from_slice(&len.to_le_bytes());
        self.put(&packed)
    }

    /// Tables, directory, footer and the mark of the end.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.finish_table()?;
        let bytes = words(&self.directory);
        self.mark(MARKER_DIRECTORY, bytes.len() as u64)?;
        let directory_at = self.at;
        self.put(&bytes)?;
        self.mark(MARKER_FOOTER, SECTOR)?;
        self.put(&header(self.capacity, directory_at))?;
        self.mark(MARKER_END, 0)?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// One that is all zeros is none.
    fn finish_table(&mut self) -> io::Result<()> {
        if self.table.iter().all(|&entry| entry == 0) {
            return Ok(());
        }
        let bytes = words(&self.table);
        self.mark(MARKER_TABLE, bytes.len() as u64)?;
        self.directory[self.number] = self.sector()?;
        self.table.fill(0);
        self.put(&bytes)
    }

    /// What comes next, in so many bytes.
    fn mark(&mut self, kind: u32, len: u64) -> io::Result<()> {
        let mut marker = len.div_ceil(SECTOR).to_le_bytes().to_vec();
        marker.extend([0; 4]);
        marker.extend(kind.to_le_bytes());
        self.put(&marker)
    }

    fn sector(&self) -> io::Result<u32> {
        u32::try_from(self.at).map_err(|_| io::Error::other(TOO_LONG))
    }

    /// Writes whole sectors.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        let len = (bytes.len() as u64).next_multiple_of(SECTOR);
        let rest = usize::try_from(len - bytes.len() as u64).unwrap_or(0);
        self.out.write_all(&[0; 512][..rest])?;
        self.at += len / SECTOR;
        Ok(())
    }
}

fn words(entries: &[u32]) -> Vec<u8> {
    entries
        .iter()
        .flat_map(|entry| entry.to_le_bytes())
        .collect()
}

fn header(capacity: u64, directory: u64) -> Vec<u8> {
    let mut header = b"KDMV".to_vec();
    header.extend(VERSION.to_le_bytes());
    header.extend(FLAGS.to_le_bytes());
    for field in [capacity, GRAIN_SECTORS, DESCRIPTOR_AT, DESCRIPTOR_SECTORS] {
        header.extend(field.to_le_bytes());
    }
    header.extend(u32::try_from(PER_TABLE).unwrap_or(0).to_le_bytes());
    // There is no second directory.
    for field in [0, directory, OVERHEAD] {
        header.extend(field.to_le_bytes());
    }
    // It was closed; line ends, by which a transfer as text is noticed.
    header.extend(b"\0\n \r\n");
    header.extend(DEFLATE.to_le_bytes());
    header.resize(512, 0);
    header
}

fn descriptor(capacity: u64, name: &str) -> String {
    // A geometry that BIOSes of old agree to; nobody else looks at it.
    let cylinders = (capacity / (255 * 63)).clamp(1, 65535);
    let name: String = name
        .chars()
        .filter(|it| !matches!(it, '"' | '\n' | '\r'))
        .collect();
    format!(
        "# Disk DescriptorFile\nversion=1\nCID={cid:08x}\nparentCID=ffffffff\n\
         createType=\"streamOptimized\"\n\n# Extent description\n\
         RDONLY {capacity} SPARSE \"{name}\"\n\n# The Disk Data Base\n#DDB\n\n\
         ddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\n\
         ddb.adapterType = \"lsilogic\"\n",
        // Any but the one that says that there is none.
        cid = capacity % 0xffff_ffff,
    )
}
