use std::sync::Arc;

use crate::pci::{Msix, msix_capability};
use crate::testing::FakeMsi;

const ENABLE: u16 = 0x8000;
const MASK_ALL: u16 = 0x4000;

fn vectors(count: u16) -> (Msix, Arc<FakeMsi>) {
    let sink = FakeMsi::new();
    let mut msix = Msix::new(count, Arc::clone(&sink) as _);
    for vector in 0..u64::from(count) {
        msix.write_table(vector * 16, 8, 0xfee0_1000);
        msix.write_table(vector * 16 + 8, 4, 0x30 + vector);
        msix.write_table(vector * 16 + 12, 4, 0);
    }
    (msix, sink)
}

#[test]
fn a_vector_sends_its_message() {
    let (mut msix, sink) = vectors(3);
    msix.fire(1);
    assert_eq!(sink.take(), [], "MSI-X was off");
    msix.set_control(ENABLE);
    msix.fire(1);
    msix.fire(2);
    assert_eq!(sink.take(), [(0xfee0_1000, 0x31), (0xfee0_1000, 0x32)]);
    msix.fire(3);
    msix.fire(0xffff);
    assert_eq!(sink.take(), []);
}

#[test]
fn a_masked_vector_is_pending_until_unmasked() {
    let (mut msix, sink) = vectors(2);
    msix.set_control(ENABLE);
    msix.write_table(16 + 12, 4, 1);
    msix.fire(1);
    msix.fire(1);
    assert_eq!(sink.take(), []);
    assert_eq!(msix.read_pending(0, 8), 0b10);
    msix.write_table(16 + 12, 4, 0);
    assert_eq!(
        sink.take(),
        [(0xfee0_1000, 0x31)],
        "once, however often it fired"
    );
    assert_eq!(msix.read_pending(0, 8), 0);
}

#[test]
fn the_function_mask_holds_all_vectors_back() {
    let (mut msix, sink) = vectors(2);
    msix.set_control(ENABLE | MASK_ALL);
    msix.fire(0);
    msix.fire(1);
    msix.write_table(12, 4, 1);
    assert_eq!(sink.take(), []);
    msix.set_control(ENABLE);
    assert_eq!(sink.take(), [(0xfee0_1000, 0x31)]);
    assert_eq!(msix.read_pending(0, 4), 1);
    msix.write_table(12, 4, 0);
    assert_eq!(sink.take(), [(0xfee0_1000, 0x30)]);
}

#[test]
fn the_message_that_counts_is_the_one_at_unmasking() {
    let (mut msix, sink) = vectors(1);
    msix.set_control(ENABLE);
    msix.write_table(12, 4, 1);
    msix.fire(0);
    msix.write_table(0, 4, 0xfee0_2003);
    msix.write_table(4, 4, 1);
    msix.write_table(8, 4, 0x99);
    msix.write_table(12, 4, 0xffff_fffe);
    assert_eq!(sink.take(), [(0x1_fee0_2000, 0x99)]);
    assert_eq!(msix.read_table(0, 8), 0x1_fee0_2000);
    assert_eq!(msix.read_table(8, 8), 0x99);
}

#[test]
fn what_is_pending_can_be_forgotten() {
    let (mut msix, sink) = vectors(1);
    msix.set_control(ENABLE | MASK_ALL);
    msix.fire(0);
    msix.clear_pending();
    msix.set_control(ENABLE);
    assert_eq!(sink.take(), []);
}

#[test]
fn pending_bits_beyond_the_first_word() {
    let (mut msix, sink) = vectors(65);
    msix.set_control(ENABLE | MASK_ALL);
    for vector in [0, 31, 33, 64] {
        msix.fire(vector);
    }
    assert_eq!(msix.read_pending(0, 8), 1 | 1 << 31 | 1 << 33);
    assert_eq!(msix.read_pending(4, 4), 0b10);
    assert_eq!(msix.read_pending(8, 8), 1);
    assert_eq!(msix.read_pending(16, 8), 0);
    assert_eq!(sink.take(), []);
}

#[test]
fn accesses_outside_the_table_have_no_meaning() {
    let (mut msix, _) = vectors(1);
    for offset in [16, 0xff0, u64::MAX - 15] {
        msix.write_table(offset, 4, 1);
        assert_eq!(msix.read_table(offset, 4), 0);
    }
    msix.write_table(12, 1, 1);
    msix.write_table(2, 4, 0xffff_ffff);
    assert_eq!(msix.read_table(0, 8), 0xfee0_1000);
    assert_eq!(msix.read_table(12, 4), 0);
    assert_eq!(msix.read_table(12, 2), 0);
}

#[test]
fn pending_messages_survive_a_save() {
    let (mut msix, _) = vectors(2);
    msix.set_control(ENABLE | MASK_ALL);
    msix.fire(1);
    let saved = msix.save();
    let sink = FakeMsi::new();
    let mut after = Msix::new(2, Arc::clone(&sink) as _);
    after.restore(&saved).unwrap();
    assert_eq!(after.save(), saved);
    assert_eq!(sink.take(), []);
    after.set_control(ENABLE);
    assert_eq!(sink.take(), [(0xfee0_1000, 0x31)]);
    assert!(Msix::new(3, FakeMsi::new()).restore(&saved).is_err());
}

#[test]
fn the_capability_names_table_and_pending_bits() {
    let (body, writable) = msix_capability(5, 2, 0x4000, 0x6000);
    assert_eq!(body, [4, 0, 0x02, 0x40, 0, 0, 0x02, 0x60, 0, 0]);
    assert_eq!(writable[..2], 0xc000u16.to_le_bytes());
}
