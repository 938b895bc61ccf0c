use super::registers as reg;
use super::*;
use crate::ethernet::tests::{MAC, OTHER, Setup, frame, on_hub};
use crate::pci::PciFunction;
use crate::virtio::testing::wait_until;

const RING: u64 = 0x1_0000;
const SENT: u64 = 0x4_0000;

type Card = Setup<Rtl8139>;

fn write(it: &mut Card, at: u64, size: u8, value: u32) {
    it.card.bar_write(1, at, size, value.into());
}

fn read(it: &mut Card, at: u64, size: u8) -> u32 {
    it.card.bar_read(0, at, size) as u32
}

/// As a driver does: 8 KiB to receive into, its own frames and those for all.
fn started() -> Card {
    let mut it = on_hub();
    write(&mut it, reg::BUFFER, 4, RING as u32);
    write(
        &mut it,
        reg::RECEIVE,
        4,
        reg::RECEIVE_OWN | reg::RECEIVE_BROADCAST,
    );
    write(
        &mut it,
        reg::COMMAND,
        1,
        (reg::COMMAND_SEND | reg::COMMAND_RECEIVE).into(),
    );
    let causes = reg::CAUSE_RECEIVED | reg::CAUSE_SENT;
    write(&mut it, reg::MASK, 2, causes.into());
    it
}

#[test]
fn a_frame_goes_out() {
    let mut it = started();
    it.put(SENT, &frame(OTHER, 100));
    write(&mut it, reg::PLACES, 4, SENT as u32);
    write(&mut it, reg::SENT, 4, 100);
    assert_eq!(it.heard(), frame(OTHER, 100));
    wait_until(|| it.line.high());
    assert_eq!(
        read(&mut it, reg::SENT, 4),
        100 | reg::SENT_OWN | reg::SENT_WELL
    );
    assert_eq!(read(&mut it, reg::SUMMARY, 2), 0b0001_0000_0000_1111);
    write(&mut it, reg::CAUSES, 2, reg::CAUSE_SENT.into());
    assert!(!it.line.high());
}

#[test]
fn frames_go_out_in_the_order_of_their_places() {
    let mut it = started();
    for index in 0..6u64 {
        let len = 60 + index as u32;
        it.put(SENT, &frame(OTHER, len as usize));
        write(&mut it, reg::PLACES + index % 4 * 4, 4, SENT as u32);
        write(&mut it, reg::SENT + index % 4 * 4, 4, len);
        assert_eq!(it.heard().len(), len as usize);
    }
}

#[test]
fn a_transmitter_that_was_off_begins_with_the_first_descriptor() {
    let mut it = started();
    it.put(SENT, &frame(OTHER, 100));
    for _ in 0..2 {
        write(&mut it, reg::PLACES, 4, SENT as u32);
        write(&mut it, reg::SENT, 4, 100);
        assert_eq!(it.heard(), frame(OTHER, 100));
        // As iPXE's driver closes the card and opens it.
        write(&mut it, reg::COMMAND, 1, 0);
        write(&mut it, reg::COMMAND, 1, reg::COMMAND_SEND.into());
    }
}

#[test]
fn a_frame_comes_in_with_its_header() {
    let mut it = started();
    assert_eq!(read(&mut it, reg::COMMAND, 1) & 1, 1, "empty");
    it.world.put(&frame(MAC, 101));
    wait_until(|| it.line.high());
    assert_eq!(read(&mut it, reg::COMMAND, 1) & 1, 0);
    // Well, to its own address; with its check sequence.
    assert_eq!(it.bytes(RING, 4), [0x01, 0x40, 105, 0]);
    assert_eq!(it.bytes(RING + 4, 101), frame(MAC, 101));
    assert_eq!(read(&mut it, reg::WRITTEN, 2), 112);
    write(&mut it, reg::CAUSES, 2, 0xffff);
    assert!(it.line.high(), "it has not been taken yet");
    write(&mut it, reg::READ, 2, 112 - 16);
    write(&mut it, reg::CAUSES, 2, 0xffff);
    assert!(!it.line.high());
    assert_eq!(read(&mut it, reg::COMMAND, 1) & 1, 1);
}

#[test]
fn frames_wait_for_room_and_go_round_the_ring() {
    let mut it = started();
    for _ in 0..9 {
        it.world.put(&frame(MAC, 1000));
    }
    // A frame takes 1008 bytes: eight are in 8192, less one.
    wait_until(|| it.card.bar_read(0, reg::WRITTEN, 2) == 8 * 1008);
    write(&mut it, reg::READ, 2, 2 * 1008 - 16);
    let end = 9 * 1008 - 0x2000;
    wait_until(|| it.card.bar_read(0, reg::WRITTEN, 2) == end);
    // Its last bytes lie at the ring's begin.
    let here = 0x2000 - 8 * 1008 - 4;
    let sent = frame(MAC, 1000);
    assert_eq!(it.bytes(RING + 8 * 1008 + 4, here), sent[..here]);
    assert_eq!(it.bytes(RING, 1000 - here), sent[here..]);
}

#[test]
fn the_eeprom_has_the_address() {
    let mut it = on_hub::<Rtl8139>();
    // As Linux's driver reads: two clocks before the start bit.
    let mut word = |address: u32| {
        let mode = u32::from(reg::EEPROM_BY_WIRE);
        let select = mode | u32::from(reg::EEPROM_CS);
        write(&mut it, reg::EEPROM, 1, mode);
        let mut clock = |data: bool| {
            let data = if data { u32::from(reg::EEPROM_DI) } else { 0 };
            write(&mut it, reg::EEPROM, 1, select | data);
            write(
                &mut it,
                reg::EEPROM,
                1,
                select | data | u32::from(reg::EEPROM_SK),
            );
            let output = read(&mut it, reg::EEPROM, 1) & u32::from(reg::EEPROM_DO);
            write(&mut it, reg::EEPROM, 1, select | data);
            output
        };
        let command = 0b110 << 6 | address;
        for bit in (0..11).rev() {
            clock(command >> bit & 1 != 0);
        }
        (0..16).fold(0, |got, _| got << 1 | clock(false))
    };
    assert_eq!(word(0), 0x8129);
    assert_eq!(word(7), u32::from(u16::from_le_bytes([MAC[0], MAC[1]])));
}

#[test]
fn registers_are_written_in_any_width() {
    let mut it = on_hub::<Rtl8139>();
    // Mask and causes are one doubleword: what is written to causes clears them only.
    write(&mut it, reg::MASK, 4, 0xffff_8005);
    assert_eq!(read(&mut it, reg::MASK, 4), 0x8005);
    write(&mut it, reg::MASK + 1, 1, 0x12);
    assert_eq!(read(&mut it, reg::MASK, 2), 0x1205);
    write(&mut it, reg::GROUPS, 4, 0x8040_2010);
    assert_eq!(read(&mut it, reg::GROUPS, 4), 0x8040_2010);
    write(&mut it, reg::COMMAND, 1, reg::COMMAND_RESET.into());
    assert_eq!(read(&mut it, reg::MASK, 2), 0);
    assert_eq!(read(&mut it, reg::GROUPS, 4), 0x8040_2010, "groups stay");
}
