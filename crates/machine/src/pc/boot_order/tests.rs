use super::{BootPlaces, boot_order};
use crate::config::{BootFrom, DiskBus};

#[test]
fn devices_have_firmwares_names() {
    let places = BootPlaces {
        disk: Some((3, DiskBus::Virtio)),
        network: Some(0x1b),
        ide_disk: false,
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
