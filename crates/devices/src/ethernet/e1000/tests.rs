use super::registers as reg;
use super::*;
use crate::ethernet::tests::{MAC, OTHER, Setup, frame, on_hub};
use crate::pci::PciFunction;
use crate::virtio::testing::wait_until;

const RECEIVE_RING: u64 = 0x1000;
const SEND_RING: u64 = 0x2000;
const BUFFERS: u64 = 0x1_0000;
const SENT: u64 = 0x4_0000;
const DESCRIPTORS: u32 = 16;

type Card = Setup<E1000>;

fn write(it: &mut Card, at: u64, value: u32) {
    it.card.bar_write(0, at, 4, value.into());
}

fn read(it: &mut Card, at: u64) -> u32 {
    it.card.bar_read(0, at, 4) as u32
}

/// As a driver does that wants all groups.
fn started() -> Card {
    let mut it = on_hub();
    for index in 0..u64::from(DESCRIPTORS) {
        let buffer = (BUFFERS + index * 2048).to_le_bytes();
        it.put(RECEIVE_RING + index * 16, &buffer);
    }
    for (ring, base) in [(&reg::RX_RING, RECEIVE_RING), (&reg::TX_RING, SEND_RING)] {
        write(&mut it, ring.start + reg::BASE_LOW, base as u32);
        write(&mut it, ring.start + reg::LENGTH, DESCRIPTORS * 16);
    }
    write(&mut it, reg::RX_RING.start + reg::TAIL, DESCRIPTORS - 1);
    let receive = reg::RCTL_ENABLE | reg::RCTL_BROADCAST | reg::RCTL_STRIP_CHECK;
    write(&mut it, reg::RCTL, receive);
    write(&mut it, reg::TCTL, reg::TCTL_ENABLE | reg::TCTL_PAD);
    write(&mut it, reg::IMS, reg::CAUSE_RECEIVED | reg::CAUSE_SENT);
    it
}

/// A descriptor of the ring of frames to send.
fn describe(it: &Card, index: u64, address: u64, word: u32, end: [u8; 4]) {
    let mut bytes = address.to_le_bytes().to_vec();
    bytes.extend(word.to_le_bytes());
    bytes.extend(end);
    it.put(SEND_RING + index * 16, &bytes);
}

const END: u32 = 1 << 24;
const REPORT: u32 = 1 << 27;
const EXTENDED: u32 = 1 << 29;
const DATA: u32 = 1 << 20;
const SEGMENT: u32 = 1 << 26;

#[test]
fn a_frame_goes_out_in_two_descriptors_and_is_reported() {
    let mut it = started();
    let sent = frame(OTHER, 100);
    it.put(SENT, &sent);
    describe(&it, 0, SENT, 40, [0; 4]);
    describe(&it, 1, SENT + 40, 60 | END | REPORT, [0; 4]);
    write(&mut it, reg::TX_RING.start + reg::TAIL, 2);
    assert_eq!(it.heard(), sent);
    wait_until(|| it.line.high());
    assert_eq!(it.bytes(SEND_RING + 16 + 12, 1), [1]);
    assert_eq!(it.bytes(SEND_RING + 12, 1), [0], "no report was asked for");
    assert!(read(&mut it, reg::ICR) & reg::CAUSE_SENT != 0);
    assert!(!it.line.high(), "read, and so acknowledged");
    assert_eq!(read(&mut it, reg::GOOD_SENT), 1);
    assert_eq!(read(&mut it, reg::GOOD_SENT), 0, "counters are taken");
}

#[test]
fn a_short_frame_is_as_long_as_a_wire_wants_it() {
    let mut it = started();
    it.put(SENT, &frame(OTHER, 20));
    describe(&it, 0, SENT, 20 | END, [0; 4]);
    write(&mut it, reg::TX_RING.start + reg::TAIL, 1);
    assert_eq!(it.heard().len(), 60);
}

/// An IPv4 packet of TCP, as a driver leaves it to a card: no lengths, no sums but the pseudo-header's.
fn tcp(data: usize) -> Vec<u8> {
    let mut frame = [&OTHER[..], &MAC, &[8, 0]].concat();
    let addresses = [10, 0, 2, 15, 10, 0, 2, 2];
    frame.extend([0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0]);
    frame.extend(addresses);
    let pseudo = !netio::Checksum::pseudo(&addresses[..4], &addresses[4..], 6, 0).finish();
    frame.extend([0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0]);
    frame.extend(pseudo.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend((0..data).map(|at| (at % 251) as u8));
    frame
}

#[test]
fn a_long_frame_is_cut_into_segments_with_right_sums() {
    let mut it = started();
    let whole = tcp(3000);
    it.put(SENT, &whole);
    // IP from 14 to 33, its sum at 24; TCP from 34 on, its sum at 50.
    let context = u64::from_le_bytes([14, 24, 33, 0, 34, 50, 0, 0]);
    let word = 3000 | EXTENDED | SEGMENT | 0b11 << 24;
    let [mss_low, mss_high] = 1460u16.to_le_bytes();
    describe(&it, 0, context, word, [0, 54, mss_low, mss_high]);
    let word = whole.len() as u32 | DATA | EXTENDED | SEGMENT | END | REPORT;
    describe(&it, 1, SENT, word, [0, 0b11, 0, 0]);
    write(&mut it, reg::TX_RING.start + reg::TAIL, 2);
    let mut got = Vec::new();
    for expected in [1460, 1460, 80] {
        let segment = it.heard();
        assert_eq!(segment.len(), 54 + expected);
        let ip = netio::Checksum::default().over(&segment[14..34]).finish();
        assert_eq!(ip, 0);
        let len = segment.len() - 34;
        let sum = netio::Checksum::pseudo(&segment[26..30], &segment[30..34], 6, len);
        assert_eq!(sum.over(&segment[34..]).finish(), 0);
        got.extend_from_slice(&segment[54..]);
    }
    assert_eq!(got, whole[54..]);
}

#[test]
fn a_frame_comes_in_and_interrupts() {
    let mut it = started();
    let sent = frame(MAC, 200);
    it.world.put(&sent);
    wait_until(|| it.line.high());
    assert_eq!(it.bytes(BUFFERS, 200), sent);
    let end = it.bytes(RECEIVE_RING + 8, 8);
    // Its length; done, the last piece, no sum was looked at.
    assert_eq!(end, [200, 0, 0, 0, 0b111, 0, 0, 0]);
    assert_eq!(read(&mut it, reg::RX_RING.start + reg::HEAD), 1);
}

#[test]
fn frames_for_others_are_not_let_in_unless_all_are() {
    let mut it = started();
    it.world.put(&frame(OTHER, 60));
    it.world.put(&frame([0x33, 0x33, 0, 0, 0, 1], 60));
    it.world.put(&frame([0xff; 6], 61));
    wait_until(|| it.line.high());
    assert_eq!(it.bytes(RECEIVE_RING + 8, 1), [61]);
    let all = read(&mut it, reg::RCTL) | reg::RCTL_ALL_OWN;
    write(&mut it, reg::RCTL, all);
    it.world.put(&frame(OTHER, 62));
    wait_until(|| it.bytes(RECEIVE_RING + 16 + 8, 1) == [62]);
}

#[test]
fn frames_wait_until_there_are_buffers() {
    let mut it = started();
    for len in 0..20 {
        it.world.put(&frame(MAC, 60 + len));
    }
    let last = u64::from(DESCRIPTORS - 2);
    wait_until(|| it.bytes(RECEIVE_RING + last * 16 + 12, 1) == [0b111]);
    assert_eq!(
        read(&mut it, reg::RX_RING.start + reg::HEAD),
        DESCRIPTORS - 1
    );
    write(&mut it, reg::RX_RING.start + reg::TAIL, 6);
    wait_until(|| it.bytes(RECEIVE_RING + 3 * 16 + 8, 1) == [79]);
}

#[test]
fn the_eeprom_has_the_address_and_its_sum() {
    let mut it = on_hub::<E1000>();
    let mut sum = 0u16;
    for word in 0..64 {
        write(&mut it, reg::EERD, word << 8 | 1);
        let got = read(&mut it, reg::EERD);
        assert!(got & reg::EERD_DONE != 0);
        sum = sum.wrapping_add((got >> 16) as u16);
        assert_eq!(by_wire(&mut it, word), (got >> 16) as u16, "word {word}");
        if word == 0 {
            assert_eq!(got >> 16, u32::from(u16::from_le_bytes([MAC[0], MAC[1]])));
        }
    }
    assert_eq!(sum, 0xbaba);
}

/// The same word, as Linux reads it.
fn by_wire(it: &mut Card, word: u32) -> u16 {
    let mut clock = |bits: u32| {
        for level in [0, reg::EECD_SK, 0] {
            write(it, reg::EECD, bits | level | reg::EECD_REQUEST);
        }
        read(it, reg::EECD) & 1 << reg::EECD_DO_SHIFT != 0
    };
    clock(0);
    let command = 0b110 << 6 | word;
    for bit in (0..9).rev() {
        let data = if command >> bit & 1 != 0 {
            reg::EECD_DI
        } else {
            0
        };
        clock(reg::EECD_CS | data);
    }
    (0..16).fold(0, |got, _| got << 1 | u16::from(clock(reg::EECD_CS)))
}

#[test]
fn the_phy_is_one_that_drivers_know_and_its_link_is_up() {
    let mut it = on_hub::<E1000>();
    let mut phy = |register: u32| {
        write(
            &mut it,
            reg::MDIC,
            reg::MDIC_READ | 1 << 21 | register << 16,
        );
        read(&mut it, reg::MDIC)
    };
    assert_eq!(phy(2), phy(2) & !0xffff | 0x0141);
    assert_eq!(phy(3) & 0xffff, 0x0c20);
    assert!(phy(1) & 0x24 == 0x24, "agreed, and up");
    assert!(phy(1) & reg::MDIC_READY != 0);
}

#[test]
fn a_ring_with_its_end_outside_is_idle() {
    let mut it = started();
    describe(&it, 0, SENT, 60 | END | REPORT, [0; 4]);
    write(&mut it, reg::TX_RING.start + reg::TAIL, 0xffff);
    it.put(SENT, &frame(OTHER, 60));
    write(&mut it, reg::TX_RING.start + reg::TAIL, 1);
    assert_eq!(it.heard().len(), 60);
    assert!(it.world.take().is_none());
}

#[test]
fn a_frame_without_an_end_is_dropped_when_it_is_too_long() {
    let mut it = started();
    for index in 0..8 {
        describe(
            &it,
            index,
            SENT,
            0xffff | if index == 7 { END } else { 0 },
            [0; 4],
        );
    }
    describe(&it, 8, SENT, 77 | END, [0; 4]);
    it.put(SENT, &frame(OTHER, 77));
    write(&mut it, reg::TX_RING.start + reg::TAIL, 9);
    assert_eq!(it.heard().len(), 77);
}

#[test]
fn without_the_bus_nothing_moves() {
    let mut it = started();
    it.card.config_write(crate::pci::COMMAND, 2, 3);
    it.put(SENT, &frame(OTHER, 60));
    describe(&it, 0, SENT, 60 | END, [0; 4]);
    write(&mut it, reg::TX_RING.start + reg::TAIL, 1);
    assert_eq!(read(&mut it, reg::TX_RING.start + reg::HEAD), 0);
    it.card.config_write(crate::pci::COMMAND, 2, 7);
    assert_eq!(it.heard().len(), 60);
}

#[test]
fn a_frame_under_way_is_saved() {
    let mut it = started();
    it.put(SENT, &frame(OTHER, 100));
    describe(&it, 0, SENT, 40, [0; 4]);
    write(&mut it, reg::TX_RING.start + reg::TAIL, 1);
    wait_until(|| it.card.bar_read(0, reg::TX_RING.start + reg::HEAD, 4) == 1);
    it.card.quiesce();
    let saved = it.card.save();
    let mut other = on_hub::<E1000>();
    other.card.restore(&saved).unwrap();
    other.put(SENT, &frame(OTHER, 100));
    describe(&other, 1, SENT + 40, 60 | END, [0; 4]);
    write(&mut other, reg::TX_RING.start + reg::TAIL, 2);
    other.card.resume();
    assert_eq!(other.heard(), frame(OTHER, 100));
}
