use super::{EOI, IoApic, SELECT, WINDOW};
use crate::Device;
use crate::testing::FakeMsi;

fn write(apic: &mut IoApic, register: u8, value: u32) {
    apic.write(SELECT, 4, register.into());
    apic.write(WINDOW, 4, value.into());
}

fn read(apic: &mut IoApic, register: u8) -> u64 {
    apic.write(SELECT, 4, register.into());
    apic.read(WINDOW, 4)
}

#[test]
fn registers_read_back_what_is_writable() {
    let mut apic = IoApic::new(FakeMsi::new());
    assert_eq!(read(&mut apic, 1), 0x0017_0020);
    write(&mut apic, 1, 0xffff_ffff);
    assert_eq!(read(&mut apic, 1), 0x0017_0020);
    write(&mut apic, 0, 0xffff_ffff);
    assert_eq!(read(&mut apic, 0), 0x0f00_0000);
    assert_eq!(read(&mut apic, 2), 0x0f00_0000);
    write(&mut apic, 0x10, 0xffff_ffff);
    assert_eq!(read(&mut apic, 0x10), 0x0001_afff);
    assert_eq!(read(&mut apic, 0x3e), 0x0001_0000);
    assert_eq!(read(&mut apic, 0x40), 0);
}

#[test]
fn an_edge_sends_one_message_and_none_while_masked() {
    let sent = FakeMsi::new();
    let mut apic = IoApic::new(sent.clone());
    apic.set_pin(4, true);
    write(&mut apic, 0x19, 0x0300_0000);
    write(&mut apic, 0x18, 0x0000_0841);
    assert!(sent.take().is_empty(), "the edge came while masked");
    apic.set_pin(4, false);
    apic.set_pin(4, true);
    apic.set_pin(4, true);
    assert_eq!(sent.take(), [(0xfee0_3004, 0x0041)]);
}

#[test]
fn a_level_asks_until_it_falls() {
    let sent = FakeMsi::new();
    let mut apic = IoApic::new(sent.clone());
    apic.set_pin(10, true);
    write(&mut apic, 0x24, 0x0000_8050);
    assert_eq!(sent.take(), [(0xfee0_0000, 0xc050)]);
    assert_eq!(read(&mut apic, 0x24), 0xc050, "remote IRR");
    apic.set_pin(10, false);
    apic.set_pin(10, true);
    assert!(sent.take().is_empty());
    apic.eoi(0x51);
    assert!(sent.take().is_empty());
    apic.eoi(0x50);
    assert_eq!(sent.take().len(), 1);
    apic.set_pin(10, false);
    apic.write(EOI, 4, 0x50);
    assert_eq!(read(&mut apic, 0x24), 0x8050);
    assert!(sent.take().is_empty());
}

#[test]
fn a_stuck_remote_irr_is_cleared_by_going_through_edge() {
    let mut apic = IoApic::new(FakeMsi::new());
    apic.set_pin(9, true);
    write(&mut apic, 0x22, 0x8050);
    write(&mut apic, 0x22, 0x1_0050);
    write(&mut apic, 0x22, 0x1_8050);
    assert_eq!(read(&mut apic, 0x22), 0x1_8050);
}

#[test]
fn wide_destinations_and_wild_accesses() {
    let sent = FakeMsi::new();
    let mut apic = IoApic::new(sent.clone());
    write(&mut apic, 0x11, 0x0102_0000);
    write(&mut apic, 0x10, 0x0030);
    apic.set_pin(0, true);
    assert_eq!(sent.take(), [(0xfee0_1020, 0x30)]);
    apic.set_pin(24, true);
    apic.set_pin(u32::MAX, true);
    for select in 0..=255 {
        write(&mut apic, select, 0xffff_ffff);
        read(&mut apic, select);
    }
    assert_eq!(apic.read(0xfff, 8), 0);
}
