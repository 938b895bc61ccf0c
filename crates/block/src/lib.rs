//! Disk images as block devices: raw files, the host's block devices, qcow2, and copy-on-write
//! overlays over any of them.
//!
//! ```no_run
//! use block::{DiskOptions, Format, Overlay, Trust};
//! let disk = block::open(&DiskOptions {
//!     path: "debian.qcow2".into(),
//!     format: Format::Probe,
//!     layers: Vec::new(),
//!     read_only: false,
//!     overlay: Overlay::Temporary,
//!     trust: Trust::Beside,
//! })?;
//! let mut sector = [0; 512];
//! disk.read_at(&mut sector, 0)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Images come from outside and are hostile: what their headers claim is checked against the file
//! before anything is allocated or followed.

mod convert;
mod counted;
mod device;
mod error;
mod file;
mod foreign;
pub mod image;
mod nbd;
mod open;
mod overlay;
mod qcow2;
mod raw;
mod storage;
#[cfg(test)]
mod testing;

pub use convert::convert;
pub use counted::{Counted, Counts, Traffic};
pub use device::{BlockDevice, Extent, SECTOR_SIZE, check_range, lacks_room};
pub use error::BlockError;
pub use foreign::check_foreign;
pub use nbd::{NbdAddress, NbdDisk, NbdServer, check_nbd_server, serve_connection};
pub use open::{DiskOptions, Format, Overlay, Trust, open, open_given, open_over};
pub use overlay::TemporaryOverlay;
pub use qcow2::{CheckReport, Checkpoint, Qcow2Disk, Repair, SnapshotInfo, check_qcow2};
pub use raw::RawDisk;
