use devices::{Device, DeviceState};
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};

use super::{File, FwCfg, KEY_DIRECTORY, KEY_RAM_SIZE, KEY_SIGNATURE, KIND, KernelItems, VERSION};

fn read(device: &mut FwCfg, key: u16, count: usize) -> Vec<u8> {
    device.write(0, 2, u64::from(key));
    (0..count).map(|_| device.read(1, 1) as u8).collect()
}

fn one_file() -> [File; 1] {
    [File {
        name: "etc/one",
        content: b"first".to_vec(),
    }]
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
    let mut device = FwCfg::new(0, 1, &one_file());
    let directory = read(&mut device, KEY_DIRECTORY, 4 + 64);
    assert_eq!(directory[..12], [0, 0, 0, 1, 0, 0, 0, 5, 0, 0x20, 0, 0]);
    assert!(directory[12..].starts_with(b"etc/one\0"));
    assert_eq!(read(&mut device, 0x20, 5), b"first");
}

#[test]
fn a_kernel_is_there_with_its_size() {
    let items = KernelItems {
        kernel: b"kernel".to_vec(),
        initrd: vec![7; 300],
        command_line: "quiet".into(),
    };
    let mut device = FwCfg::new(0, 1, &[]).with_kernel(items);
    assert_eq!(read(&mut device, 0x08, 4), [6, 0, 0, 0]);
    assert_eq!(read(&mut device, 0x11, 6), b"kernel");
    assert_eq!(read(&mut device, 0x0b, 4), [0x2c, 1, 0, 0]);
    assert_eq!(read(&mut device, 0x12, 3), [7; 3]);
    assert_eq!(read(&mut device, 0x14, 4), [6, 0, 0, 0]);
    assert_eq!(read(&mut device, 0x15, 6), b"quiet\0");
    assert_eq!(read(&mut device, 0x17, 4), [0; 4], "no setup part");
}

#[test]
fn the_position_survives_a_save() {
    let mut device = FwCfg::new(0, 1, &[]);
    assert_eq!(read(&mut device, KEY_SIGNATURE, 2), b"QE");
    let mut other = FwCfg::new(0, 1, &[]);
    other.restore(&device.save()).expect("its own state");
    assert_eq!(other.read(1, 2), u64::from(u16::from_le_bytes(*b"MU")));
}

/// Of each version, with the tenth byte of item 0x19 to be read next.
#[test]
fn kept_states_of_every_version_are_read() {
    let kept: [&[u8]; 2] = [&[0x19, 9], &[0x19, 9, 0]];
    for (version, bytes) in (1..=VERSION).zip(kept) {
        let state = DeviceState {
            kind: KIND.to_owned(),
            version,
            bytes: bytes.to_vec(),
        };
        let mut device = FwCfg::new(0, 1, &one_file());
        device.restore(&state).unwrap();
        assert_eq!(device.read(1, 1), 0x20, "version {version}");
        if version == VERSION {
            device.restore(&state).unwrap();
            assert_eq!(device.save(), state, "its version is to be raised");
        }
    }
    assert_eq!(kept.len(), usize::from(VERSION));
}

fn ram() -> GuestMemory {
    let all = RamRange {
        base: Gpa(0),
        len: 0x1_0000,
    };
    GuestMemory::new(&[all]).expect("memory")
}

/// Puts a command into memory, starts it, and answers what became of its control word.
fn command(device: &mut FwCfg, memory: &GuestMemory, control: u32, len: u32, to: u64) -> u32 {
    let mut bytes = control.to_be_bytes().to_vec();
    bytes.extend(len.to_be_bytes());
    bytes.extend(to.to_be_bytes());
    memory
        .ram()
        .write_slice(&bytes, GuestAddress(0x100))
        .expect("RAM");
    device.write(4, 4, 0);
    device.write(8, 4, u64::from(0x100u32.swap_bytes()));
    let word: u32 = memory.ram().read_obj(GuestAddress(0x100)).expect("RAM");
    u32::from_be(word)
}

#[test]
fn dma_selects_reads_and_ends_in_zeroes() {
    let memory = ram();
    let mut device = FwCfg::new(0, 1, &one_file()).with_dma(memory.clone());
    assert_eq!(device.read(4, 4), u64::from(u32::from_le_bytes(*b"QEMU")));
    assert_eq!(command(&mut device, &memory, 0x20_000a, 2, 0x200), 0);
    assert_eq!(command(&mut device, &memory, 4, 1, 0), 0);
    assert_eq!(command(&mut device, &memory, 2, 4, 0x202), 0);
    let read: [u8; 6] = memory.ram().read_obj(GuestAddress(0x200)).expect("RAM");
    assert_eq!(&read, b"fist\0\0");
}

#[test]
fn dma_that_cannot_be_says_so() {
    let memory = ram();
    let mut device = FwCfg::new(0, 1, &one_file()).with_dma(memory.clone());
    assert_eq!(command(&mut device, &memory, 0x20_000a, 2, 0xffff), 1);
    assert_eq!(command(&mut device, &memory, 0x20_000a, u32::MAX, 0), 1);
    assert_eq!(command(&mut device, &memory, 0x20_0018, 2, 0x200), 1);
    // A command outside of memory, and one that runs over its end.
    device.write(8, 4, u64::from(0x2_0000u32.swap_bytes()));
    device.write(8, 4, u64::from(0xfff8u32.swap_bytes()));
}
