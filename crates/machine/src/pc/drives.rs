//! What hangs on the disk controller of old.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use block::BlockDevice;
use devices::floppy::Format;
use devices::ide::Drive;
use rustix::fs::Access;

use crate::MachineError;
use crate::config::{DiskBus, DiskConfig, DiskFormat, DiskTrust, Overlay};

/// Master of the second channel: where a CD-ROM drive is looked for.
const CD: usize = 2;
/// Where disks go, in their order.
const DISKS: [usize; 3] = [0, 1, 3];

/// The drives of both channels, masters first.
///
/// # Errors
/// When there are too many disks, or an image cannot be used.
pub(crate) fn drives(
    disks: &[DiskConfig],
    cd: Option<&Option<PathBuf>>,
) -> Result<[Option<Drive>; 4], MachineError> {
    let mut drives = [None, None, None, None];
    let mut places = DISKS.into_iter();
    for disk in disks.iter().filter(|disk| disk.bus == DiskBus::Ide) {
        let place = places.next();
        let place = place.ok_or(MachineError::TooManyIdeDisks { most: DISKS.len() })?;
        drives[place] = Some(Drive::Disk {
            disk: open_disk(disk)?,
            serial: disk.serial.clone(),
        });
    }
    if let Some(disc) = cd {
        let disc = disc.as_deref().map(open_disc).transpose()?;
        drives[CD] = Some(Drive::Cd(disc));
    }
    Ok(drives)
}

/// The image of a CD or DVD: as it is, and never written to.
fn open_disc(path: &Path) -> Result<Arc<dyn BlockDevice>, MachineError> {
    open_disk(&DiskConfig {
        path: path.to_owned(),
        format: DiskFormat::Raw,
        read_only: true,
        overlay: Overlay::None,
        opened: None,
        layers: Vec::new(),
        trust: DiskTrust::Beside,
        serial: String::new(),
        bus: DiskBus::Ide,
        id: String::new(),
        slot: None,
        gone: false,
    })
}

/// A floppy disk and the drive that reads it, as the CMOS has it.
pub(crate) fn open_floppy(path: &Path) -> Result<(Arc<dyn BlockDevice>, u8), MachineError> {
    let disk = open_disk(&DiskConfig {
        path: path.to_owned(),
        format: DiskFormat::Raw,
        read_only: rustix::fs::access(path, Access::WRITE_OK).is_err(),
        overlay: Overlay::None,
        opened: None,
        layers: Vec::new(),
        trust: DiskTrust::Beside,
        serial: String::new(),
        bus: DiskBus::Ide,
        id: String::new(),
        slot: None,
        gone: false,
    })?;
    let format = Format::of(disk.len());
    let format = format.ok_or_else(|| MachineError::FloppySize {
        path: path.to_owned(),
    })?;
    Ok((disk, format.drive))
}

pub(crate) fn open_disk(disk: &DiskConfig) -> Result<Arc<dyn BlockDevice>, MachineError> {
    let options = block::DiskOptions {
        path: disk.path.clone(),
        format: disk.format,
        read_only: disk.read_only,
        overlay: disk.overlay.clone(),
        layers: disk.layers.clone(),
        trust: disk.trust,
    };
    let opened = match &disk.opened {
        Some(base) => block::open_over(Arc::clone(base), &options),
        None => block::open(&options),
    };
    opened.map_err(|source| MachineError::Disk {
        path: disk.path.clone(),
        source,
    })
}
