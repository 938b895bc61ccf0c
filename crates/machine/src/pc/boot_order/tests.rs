use super::{BootPlaces, boot_order};
use crate::config::{BootFrom, DiskBus};

#[test]
fn devices_have_firmwares_names() {
    let places = BootPlaces {
        disk: Some((3, DiskBus::Virtio)),
        network: Some(0x1b),
        ..BootPlaces::default()
    };
    let wanted = [BootFrom::Network, BootFrom::Cd, BootFrom::Disk];
    let found = boot_order(&wanted, places);
    assert_eq!(
        found,
        [
            "/pci@i0cf8/ethernet@1b/ethernet-phy@0",
            "/pci@i0cf8/ide@1,1/drive@1/disk@0",
            "/pci@i0cf8/scsi@3/disk@0,0",
        ]
    );
}

#[test]
fn what_is_not_there_is_not_named() {
    let wanted = [BootFrom::Disk, BootFrom::Network];
    assert!(boot_order(&wanted, BootPlaces::default()).is_empty());
}

#[test]
fn an_nvme_disk_is_named_by_its_namespace() {
    let places = BootPlaces {
        disk: Some((4, DiskBus::Nvme)),
        ..BootPlaces::default()
    };
    let found = boot_order(&[BootFrom::Disk], places);
    assert_eq!(found, ["/pci@i0cf8/pci8086,5845@4/namespace@1,0"]);
}

#[test]
fn a_usb_disk_is_named_by_its_port() {
    let places = BootPlaces {
        disk: Some((5, DiskBus::Usb)),
        ..BootPlaces::default()
    };
    let found = boot_order(&[BootFrom::Disk], places);
    assert_eq!(found, ["/pci@i0cf8/usb@5/storage@1/channel@0/disk@0,0"]);
}

#[test]
fn sata_drives_are_named_by_their_ports() {
    let places = BootPlaces {
        disk: Some((0x1a, DiskBus::Sata)),
        sata_cd: Some((0x1a, 11)),
        ..BootPlaces::default()
    };
    let found = boot_order(&[BootFrom::Disk, BootFrom::Cd], places);
    assert_eq!(
        found,
        [
            "/pci@i0cf8/pci8086,2922@1a/drive@0/disk@0",
            "/pci@i0cf8/pci8086,2922@1a/drive@b/disk@0",
        ]
    );
}
