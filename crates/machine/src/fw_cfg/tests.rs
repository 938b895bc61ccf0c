use devices::Device;

use super::{FwCfg, KEY_DIRECTORY, KEY_RAM_SIZE, KEY_SIGNATURE};

fn read(device: &mut FwCfg, key: u16, count: usize) -> Vec<u8> {
    device.write(0, 2, u64::from(key));
    (0..count).map(|_| device.read(1, 1) as u8).collect()
}

#[test]
fn items_are_read_byte_by_byte_and_end_in_zeroes() {
    let mut device = FwCfg::new(0x1234_5678, 3, &[]);
    assert_eq!(read(&mut device, KEY_SIGNATURE, 5), b"QEMU\0");
    assert_eq!(
        read(&mut device, KEY_RAM_SIZE, 8),
        0x1234_5678u64.to_le_bytes()
    );
    assert_eq!(read(&mut device, 0x7777, 2), [0, 0]);
}

#[test]
fn files_are_found_by_the_directory() {
    let mut device = FwCfg::new(0, 1, &[("etc/one", b"first".to_vec())]);
    let directory = read(&mut device, KEY_DIRECTORY, 4 + 64);
    assert_eq!(directory[..12], [0, 0, 0, 1, 0, 0, 0, 5, 0, 0x20, 0, 0]);
    assert!(directory[12..].starts_with(b"etc/one\0"));
    assert_eq!(read(&mut device, 0x20, 5), b"first");
}

#[test]
fn the_position_survives_a_save() {
    let mut device = FwCfg::new(0, 1, &[]);
    assert_eq!(read(&mut device, KEY_SIGNATURE, 2), b"QE");
    let mut other = FwCfg::new(0, 1, &[]);
    other.restore(&device.save()).expect("its own state");
    assert_eq!(other.read(1, 2), u64::from(u16::from_le_bytes(*b"MU")));
}
