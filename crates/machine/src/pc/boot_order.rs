//! Names of devices to boot from, as firmware has them: paths of Open Firmware.
//! Spec: SeaBIOS src/boot.c, "Boot device path"; OVMF's QemuBootOrderLib.

use crate::config::{BootFrom, DiskBus};

/// Slots of what can be booted from, where it is there.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct BootPlaces {
    /// The first disk with a slot of its own, and what is in it.
    pub(crate) disk: Option<(u8, DiskBus)>,
    pub(crate) network: Option<u8>,
    /// The first disk is none, but hangs on the disk controller of old.
    pub(crate) ide_disk: bool,
    /// The AHCI controller's, and the port of the CD-ROM drive, where that hangs there.
    pub(crate) sata_cd: Option<(u8, usize)>,
}

/// The paths of `wanted`, as far as those are there.
pub(crate) fn boot_order(wanted: &[BootFrom], places: BootPlaces) -> Vec<String> {
    let path = |device: &BootFrom| match device {
        BootFrom::Disk if places.ide_disk => Some("/pci@i0cf8/ide@1,1/drive@0/disk@0".to_owned()),
        BootFrom::Disk => {
            let (slot, bus) = places.disk?;
            Some(match bus {
                DiskBus::Nvme => format!("/pci@i0cf8/pci8086,5845@{slot:x}/namespace@1,0"),
                // The first disk is on the first port, which counts from nought or one.
                DiskBus::Usb => {
                    format!("/pci@i0cf8/usb@{slot:x}/storage@1/channel@0/disk@0,0")
                }
                DiskBus::Sata => format!("/pci@i0cf8/pci8086,2922@{slot:x}/drive@0/disk@0"),
                _ => format!("/pci@i0cf8/scsi@{slot:x}/disk@0,0"),
            })
        }
        BootFrom::Network => {
            let slot = places.network?;
            Some(format!("/pci@i0cf8/ethernet@{slot:x}/ethernet-phy@0"))
        }
        BootFrom::Cd => Some(match places.sata_cd {
            Some((slot, port)) => {
                format!("/pci@i0cf8/pci8086,2922@{slot:x}/drive@{port:x}/disk@0")
            }
            None => "/pci@i0cf8/ide@1,1/drive@1/disk@0".to_owned(),
        }),
        BootFrom::Floppy => Some("/pci@i0cf8/isa@1/fdc@03f0/floppy@0".to_owned()),
    };
    wanted.iter().filter_map(path).collect()
}

#[cfg(test)]
mod tests;
