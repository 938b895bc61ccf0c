//! What hangs on the disk controller of old.

use std::path::Path;
use std::sync::Arc;

use block::BlockDevice;
use devices::ahci::{MOST_PORTS, SataDrive};
use devices::floppy::Format;
use devices::ide::Drive;
use rustix::fs::Access;

use crate::MachineError;
use crate::config::{DiskBus, DiskConfig, DiskFormat, DiskTrust, FirmwareConfig, Overlay};
use crate::control::MachineControl;

/// By which drives are known to whoever changes what is in them.
pub(crate) const CD_NAME: &str = "cd0";
pub(crate) const FLOPPY_NAME: &str = "floppy0";

/// Master of the second channel: where a CD-ROM drive is looked for.
const CD: usize = 2;
/// The CD-ROM drive's channel and unit.
pub(crate) const CD_PLACE: (usize, usize) = (CD / 2, CD % 2);
/// Where disks go, in their order.
const DISKS: [usize; 3] = [0, 1, 3];

/// The drives of both channels, masters first.
///
/// # Errors
/// When there are too many disks, or an image cannot be used.
pub(crate) fn drives(
    disks: &[DiskConfig],
    firmware: &FirmwareConfig,
    control: &MachineControl,
) -> Result<[Option<Drive>; 4], MachineError> {
    let mut drives = [None, None, None, None];
    let mut places = DISKS.into_iter();
    for disk in disks.iter().filter(|disk| disk.bus == DiskBus::Ide) {
        let place = places.next();
        let place = place.ok_or(MachineError::TooManyIdeDisks { most: DISKS.len() })?;
        drives[place] = Some(Drive::Disk {
            disk: disk.counted(open_disk(disk)?),
            serial: disk.serial.clone(),
        });
    }
    if !firmware.cd_sata
        && let Some(disc) = disc(firmware, control)?
    {
        drives[CD] = Some(Drive::Cd(disc));
    }
    Ok(drives)
}

/// What is in the CD-ROM drive, if there is one, wherever that hangs.
fn disc(
    firmware: &FirmwareConfig,
    control: &MachineControl,
) -> Result<Option<Option<Arc<dyn BlockDevice>>>, MachineError> {
    let Some(path) = &firmware.cd else {
        return Ok(None);
    };
    let disc = match given(firmware, CD_NAME) {
        Some(disc) => Some(disc),
        None => path.as_deref().map(open_disc).transpose()?,
    };
    Ok(Some(control.counted_medium(CD_NAME, disc)))
}

/// What hangs on the AHCI controller.
#[derive(Debug, Default)]
pub(crate) struct SataDrives {
    pub(crate) drives: Vec<SataDrive>,
    /// The disks among them.
    pub(crate) disks: Vec<Arc<dyn BlockDevice>>,
    /// On which port the CD-ROM drive is.
    pub(crate) cd: Option<usize>,
}

/// Disks in their order, then the CD-ROM drive.
///
/// # Errors
/// When there are more than there are ports for, or an image cannot be used.
pub(crate) fn sata_drives(
    disks: &[DiskConfig],
    firmware: Option<&FirmwareConfig>,
    control: &MachineControl,
) -> Result<SataDrives, MachineError> {
    let disks: Vec<&DiskConfig> = disks.iter().filter(|it| it.bus == DiskBus::Sata).collect();
    let firmware = firmware.filter(|it| it.cd_sata);
    let cds = usize::from(firmware.is_some_and(|it| it.cd.is_some()));
    if disks.len() + cds > MOST_PORTS {
        return Err(MachineError::TooManySataDrives { most: MOST_PORTS });
    }
    let mut found = SataDrives::default();
    for disk in disks {
        let opened = open_disk(disk)?;
        found.disks.push(Arc::clone(&opened));
        found.drives.push(SataDrive::Disk {
            disk: disk.counted(opened),
            serial: disk.serial.clone(),
        });
    }
    let disc = firmware.map(|it| disc(it, control)).transpose()?;
    if let Some(disc) = disc.flatten() {
        found.cd = Some(found.drives.len());
        found.drives.push(SataDrive::Cd(disc));
    }
    Ok(found)
}

/// What is open already for the drive of this name.
fn given(firmware: &FirmwareConfig, name: &str) -> Option<Arc<dyn BlockDevice>> {
    let mut all = firmware.media.iter();
    let found = all.find(|(drive, _)| drive == name);
    found.map(|(_, medium)| Arc::clone(medium))
}

/// The image of a CD or DVD: as it is, and never written to.
fn open_disc(path: &Path) -> Result<Arc<dyn BlockDevice>, MachineError> {
    open_disk(&DiskConfig {
        traffic: Arc::default(),
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

/// What a floppy drive has in it.
#[derive(Debug)]
pub(crate) struct FloppyDrive {
    pub(crate) disk: Option<Arc<dyn BlockDevice>>,
    /// What the drive is, as the CMOS has it.
    pub(crate) kind: u8,
}

/// A drive of 1.44 MB.
const USUAL_DRIVE: u8 = 4;

/// The floppy drive, if there is one: that which reads the disk in it.
pub(crate) fn floppy_drive(
    firmware: &FirmwareConfig,
    control: &MachineControl,
) -> Result<Option<FloppyDrive>, MachineError> {
    let path = firmware.floppy.as_deref();
    let disk = match given(firmware, FLOPPY_NAME) {
        Some(disk) => Some(disk),
        None => path.map(open_floppy).transpose()?,
    };
    if disk.is_none() && !firmware.floppy_drive {
        return Ok(None);
    }
    let kind = match &disk {
        None => USUAL_DRIVE,
        Some(disk) => {
            let format = Format::of(disk.len());
            let format = format.ok_or_else(|| MachineError::FloppySize {
                path: path.unwrap_or(Path::new(FLOPPY_NAME)).to_owned(),
            })?;
            format.drive
        }
    };
    let disk = control.counted_medium(FLOPPY_NAME, disk);
    Ok(Some(FloppyDrive { disk, kind }))
}

fn open_floppy(path: &Path) -> Result<Arc<dyn BlockDevice>, MachineError> {
    open_disk(&DiskConfig {
        traffic: Arc::default(),
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
    })
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
