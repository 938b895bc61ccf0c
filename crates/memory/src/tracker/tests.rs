use vm_memory::bitmap::{Bitmap, NewBitmap};

use super::PageTracker;
use crate::Bell;

#[test]
fn a_write_kills_the_blocks_of_its_page_only() {
    let bell = Bell::default();
    let tracker = PageTracker::with_len(0x4000);
    let (first, second) = (tracker.note_code(1, &bell), tracker.note_code(2, &bell));
    assert!(!tracker.is_plain(1));
    tracker.mark_dirty(0x1ff0, 0x10);
    assert_ne!(tracker.note_code(1, &bell), first);
    assert_eq!(tracker.note_code(2, &bell), second);
}

#[test]
fn pages_are_logged_only_while_the_log_is_on() {
    let tracker = PageTracker::with_len(0x4000);
    tracker.mark_dirty(0, 1);
    tracker.set_logging(true);
    assert!(!tracker.is_plain(3));
    tracker.mark_dirty(0x2fff, 2);
    assert!(tracker.is_plain(3));
    assert_eq!(tracker.take_dirty(), [0b1100]);
    assert_eq!(tracker.take_dirty(), [0]);
    tracker.slice_at(0x1000).mark_dirty(0, 1);
    assert_eq!(tracker.take_dirty(), [0b10]);
}

#[test]
fn a_write_outside_the_region_is_ignored() {
    PageTracker::with_len(0x1000).mark_dirty(0x8000, 8);
}
