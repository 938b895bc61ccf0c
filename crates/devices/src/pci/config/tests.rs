use crate::pci::{BarKind, ConfigSpace, Identity, Space};

fn identity() -> Identity {
    Identity {
        vendor: 0x1234,
        device: 0x5678,
        subsystem_vendor: 0x9abc,
        subsystem: 0xdef0,
        class: 0x01_08_02,
        revision: 3,
    }
}

fn space() -> ConfigSpace {
    ConfigSpace::new(&identity())
        .with_bar(0, BarKind::Memory64, 0x4000)
        .with_bar(2, BarKind::Memory32, 0x1000)
        .with_bar(3, BarKind::Io, 0x20)
        .with_interrupt_pin(1)
}

#[test]
fn the_header_is_laid_out_as_specified() {
    let space = space();
    assert_eq!(space.read(0x00, 4), 0x5678_1234);
    assert_eq!(space.read(0x08, 4), 0x0108_0203);
    assert_eq!(space.read(0x2c, 4), 0xdef0_9abc);
    assert_eq!(space.read(0x0e, 1), 0);
    assert_eq!(space.read(0x3d, 1), 1);
}

#[test]
fn sizing_answers_the_length_and_kind() {
    let mut space = space();
    let expected = [0xffff_c004, 0xffff_ffff, 0xffff_f000, 0xffff_ffe1, 0, 0];
    for (index, expected) in (0u16..).zip(expected) {
        let register = 0x10 + index * 4;
        space.write(register, 4, 0xffff_ffff);
        assert_eq!(space.read(register, 4), expected, "BAR {index}");
    }
}

#[test]
fn regions_answer_only_when_decoded_and_placed() {
    let mut space = space();
    space.write(0x10, 4, 0x8000_1234);
    space.write(0x14, 4, 0x1);
    space.write(0x1c, 4, 0xc123);
    assert!(space.mappings().is_empty());
    space.write(0x04, 2, 0b10);
    let [memory] = space.mappings()[..] else {
        panic!("{:?}", space.mappings());
    };
    assert_eq!(
        (memory.bar, memory.base, memory.len),
        (0, 0x1_8000_0000, 0x4000)
    );
    space.write(0x04, 2, 0b11);
    let io = space.mappings()[1];
    assert_eq!((io.space, io.base, io.len), (Space::Io, 0xc120, 0x20));
}

#[test]
fn identity_is_read_only_and_the_interrupt_line_is_not() {
    let mut space = space();
    for register in (0..0x40).step_by(4) {
        space.write(register, 4, 0xffff_ffff);
    }
    assert_eq!(space.read(0x00, 4), 0x5678_1234);
    assert_eq!(space.read(0x08, 4), 0x0108_0203);
    assert_eq!(space.read(0x3c, 2), 0x01ff);
    assert_eq!(space.command(), 0b0000_0101_0100_0111);
}

#[test]
fn capabilities_form_a_list() {
    let mut space = space();
    assert_eq!(space.read(0x06, 2) & 0x10, 0);
    let first = space.add_capability(9, &[1, 2, 3], &[]).unwrap();
    let second = space.add_capability(0x11, &[0; 10], &[0, 0xc0]).unwrap();
    assert_eq!(space.read(0x06, 2) & 0x10, 0x10);
    assert_eq!(space.read(0x34, 1), u32::from(first));
    assert_eq!(
        space.read(u16::from(first), 2),
        0x0009 | u32::from(second) << 8
    );
    assert_eq!(space.read(u16::from(second), 2), 0x0011);
    space.write(u16::from(second) + 2, 2, 0xffff);
    assert_eq!(space.read(u16::from(second) + 2, 2), 0xc000);
    assert_eq!(space.add_capability(1, &[0; 250], &[]), None);
}

#[test]
fn accesses_stay_in_one_doubleword() {
    let mut space = space();
    assert_eq!(space.read(0x01, 2), 0x7812);
    assert_eq!(space.read(0x03, 2), u32::MAX);
    assert_eq!(space.read(0x100, 4), u32::MAX);
    assert_eq!(space.read(0xfe, 4), u32::MAX);
    space.write(0xfe, 4, 1);
    space.write(0x1000, 4, 1);
}

#[test]
fn a_saved_space_is_restored_and_another_s_is_refused() {
    let mut space = space();
    let fresh = space.save();
    space.write(0x10, 4, 0xc000_0000);
    space.write(0x04, 2, 0x6);
    let saved = space.save();
    space.reset();
    assert_eq!(space.save(), fresh);
    space.restore(&saved).unwrap();
    assert_eq!(space.save(), saved);

    let mut other = identity();
    other.device += 1;
    let mut other = ConfigSpace::new(&other);
    assert!(other.restore(&saved).unwrap_err().contains("0x2"));
    assert_eq!(other.command(), 0);
}
