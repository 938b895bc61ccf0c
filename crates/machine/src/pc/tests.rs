use super::{physical_bits, sata_drives};
use crate::MachineError;
use crate::config::{DiskBus, DiskConfig, DiskFormat, DiskTrust, FirmwareConfig, Overlay};
use crate::control::MachineControl;
use crate::layout::GIB;

#[test]
fn addresses_are_no_wider_than_a_guest_needs() {
    assert_eq!(physical_bits(GIB / 8), 40);
    assert_eq!(physical_bits(256 * GIB), 40);
    assert_eq!(physical_bits(1024 * GIB), 41);
    assert_eq!(physical_bits(u64::MAX), 52);
}

#[test]
fn there_are_no_more_sata_drives_than_ports() {
    let disk = DiskConfig {
        traffic: std::sync::Arc::default(),
        path: "/nothing/that/is/a/disk".into(),
        format: DiskFormat::Raw,
        read_only: true,
        overlay: Overlay::None,
        opened: None,
        layers: Vec::new(),
        trust: DiskTrust::Beside,
        serial: String::new(),
        bus: DiskBus::Sata,
        id: String::new(),
        slot: None,
        gone: false,
    };
    let firmware = FirmwareConfig {
        cd: Some(None),
        cd_sata: true,
        ..FirmwareConfig::default()
    };
    let refused = |disks, firmware| {
        let refused = sata_drives(
            &vec![disk.clone(); disks],
            firmware,
            &MachineControl::default(),
        );
        refused.expect_err("it has no such disk").to_string()
    };
    let too_many = MachineError::TooManySataDrives { most: 32 }.to_string();
    assert_eq!(refused(33, None), too_many);
    assert_eq!(refused(32, Some(&firmware)), too_many);
    // So many there may be, if they are disks.
    assert_ne!(refused(32, None), too_many);
    assert_ne!(refused(31, Some(&firmware)), too_many);
}
