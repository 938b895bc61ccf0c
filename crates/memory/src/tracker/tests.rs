use std::sync::Arc;

use vm_memory::bitmap::{Bitmap, NewBitmap};

use super::PageTracker;
use crate::bell::Bells;
use crate::{Bell, Gpa, Lines, Named};

const FIRST: Lines = Lines(1);
const SECOND: Lines = Lines(2);

#[test]
fn a_write_kills_the_blocks_of_its_page_only() {
    let bell = Bell::default();
    let tracker = PageTracker::with_len(0x4000);
    let note = |page| tracker.note_code(page, Lines::ALL, &bell);
    let (first, second) = (note(1), note(2));
    assert_eq!(tracker.guarded(1), Lines::ALL);
    tracker.mark_dirty(0x1ff0, 0x10);
    assert_eq!(tracker.guarded(1), Lines::NONE);
    assert_ne!(note(1), first);
    assert_eq!(note(2), second);
}

#[test]
fn a_write_beside_code_kills_nothing() {
    let bell = Bell::default();
    let tracker = PageTracker::with_len(0x2000);
    let generation = tracker.note_code(1, FIRST, &bell);
    tracker.mark_dirty(0x1080, 0xf80);
    assert_eq!(tracker.generation(1), Some(generation));
    assert_eq!(tracker.guarded(1), FIRST);
    // Up to the first byte of the code.
    tracker.mark_dirty(0xfff, 2);
    assert_ne!(tracker.generation(1), Some(generation));
    assert_eq!(tracker.guarded(1), Lines::NONE);
}

#[test]
fn all_code_of_a_page_dies_together() {
    let bell = Bell::default();
    let tracker = PageTracker::with_len(0x1000);
    let one = tracker.note_code(0, FIRST, &bell);
    let two = tracker.note_code(0, SECOND, &bell);
    assert_eq!(one, two);
    tracker.note_write(0, SECOND);
    assert_ne!(tracker.generation(0), Some(one));
    assert_eq!(tracker.guarded(0), Lines::NONE);
}

#[test]
fn whoever_claimed_a_page_hears_of_new_code_there_once() {
    let bells = Arc::new(Bells::default());
    let (own, other) = (bells.add(), bells.add());
    let tracker = PageTracker::new(Gpa(0x10_0000), 0x4000, Arc::clone(&bells));
    let _ = tracker.note_code(1, FIRST, &own);
    assert!(!other.rings(), "nobody had claimed the page");
    assert_eq!(tracker.claim(1), FIRST);
    let _ = tracker.note_code(1, FIRST, &own);
    assert!(!other.rings(), "that line was known");
    let _ = tracker.note_code(1, SECOND, &own);
    assert_eq!(other.take_unplain(), Named::Pages(vec![Gpa(0x10_1000)]));
    other.answer();
    let _ = tracker.note_code(1, Lines::ALL, &own);
    assert!(!other.rings(), "nobody has claimed it again");
    assert!(!own.rings());
}

#[test]
fn pages_are_logged_only_while_the_log_is_on() {
    let tracker = PageTracker::with_len(0x4000);
    tracker.mark_dirty(0, 1);
    tracker.set_logging(true);
    assert_eq!(tracker.claim(3), Lines::ALL);
    tracker.mark_dirty(0x2fff, 2);
    assert_eq!(tracker.claim(3), Lines::NONE);
    assert_eq!(tracker.take_dirty(), [0b1100]);
    assert_eq!(tracker.take_dirty(), [0]);
    tracker.slice_at(0x1000).mark_dirty(0, 1);
    assert_eq!(tracker.take_dirty(), [0b10]);
}

#[test]
fn a_write_outside_the_region_is_ignored() {
    PageTracker::with_len(0x1000).mark_dirty(0x8000, 8);
}
