#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::fs::File;
use std::sync::Arc;

use crate::testing::{TestDirectory, pattern, qemu_img, read_all};
use crate::{BlockDevice, DiskOptions, Overlay, RawDisk, TemporaryOverlay, open};

const LEN: usize = 10 * 4096 + 1024;

fn overlay(directory: &TestDirectory) -> (TemporaryOverlay, Vec<u8>) {
    let content = pattern(LEN, 99);
    let base = RawDisk::open(&directory.file("base", &content), true).unwrap();
    (TemporaryOverlay::new(Arc::new(base)).unwrap(), content)
}

#[test]
fn it_shows_the_base_and_then_what_was_written() {
    let directory = TestDirectory::new();
    let (overlay, mut expected) = overlay(&directory);
    assert!(read_all(&overlay) == expected);
    // Inside a block, over several, whole ones, the short last one.
    for (offset, len) in [
        (5, 7),
        (4000, 9000),
        (4096, 4096),
        (20_480, 8192),
        (LEN - 3, 3),
        (0, LEN),
    ] {
        let data = pattern(len, offset as u64 + 3);
        overlay.write_at(&data, offset as u64).unwrap();
        expected[offset..offset + len].copy_from_slice(&data);
        assert!(read_all(&overlay) == expected, "{offset} {len}");
    }
    overlay.flush().unwrap();
}

#[test]
fn what_it_holds_can_lie_over_the_base_again() {
    let directory = TestDirectory::new();
    let (overlay, mut expected) = overlay(&directory);
    for (offset, len) in [(5, 7), (8192, 4096), (LEN - 3, 3)] {
        let data = pattern(len, offset as u64 + 3);
        overlay.write_at(&data, offset as u64).unwrap();
        expected[offset..offset + len].copy_from_slice(&data);
    }
    overlay.write_zeroes(16384, 8192, true).unwrap();
    expected[16384..24576].fill(0);
    let copy = directory.file("copy.qcow2", &[]);
    let file = File::options().read(true).write(true).open(&copy).unwrap();
    assert!(overlay.save_overlay(&file).unwrap());
    // What is written later is not in it.
    overlay.write_at(&[9; 4096], 0).unwrap();
    let again = open(&DiskOptions {
        path: directory.path("base"),
        overlay: Overlay::Temporary,
        layers: vec![copy.clone()],
        ..DiskOptions::default()
    });
    assert!(read_all(&*again.unwrap()) == expected);
    let used = std::fs::metadata(&copy).unwrap().len();
    assert!(used < 16 * 4096, "{used} bytes, of the base as well");
    qemu_img(&directory, &["check", "copy.qcow2"]);
    // No other disk has what is nowhere else.
    let base = RawDisk::open(&directory.path("base"), true).unwrap();
    assert!(!base.save_overlay(&file).unwrap());
}

#[test]
fn base_and_overlay_are_read_without_waiting() {
    let directory = TestDirectory::new();
    let (overlay, mut expected) = overlay(&directory);
    overlay.write_at(&[7; 5000], 4000).unwrap();
    expected[4000..9000].fill(7);
    let mut read = vec![0; 12_000];
    // Just written, so it is there; a file system that cannot say answers false.
    if overlay.read_now(&mut read, 1000).unwrap() {
        assert!(read == expected[1000..13_000]);
    }
    // Beside a write, which may wait for storage, nobody waits.
    let writing = overlay.written.write().unwrap();
    assert!(!overlay.read_now(&mut read, 1000).unwrap());
    drop(writing);
    assert!(overlay.read_now(&mut read, LEN as u64).is_err());
}

#[test]
fn zeroing_hides_the_base() {
    let directory = TestDirectory::new();
    let (overlay, mut expected) = overlay(&directory);
    overlay.write_zeroes(100, 20_000, true).unwrap();
    expected[100..20_100].fill(0);
    assert!(read_all(&overlay) == expected);
}

#[test]
fn discarding_may_forget_only_whole_blocks_of_the_range() {
    let directory = TestDirectory::new();
    let (overlay, base) = overlay(&directory);
    overlay.write_at(&vec![9; 16_384], 0).unwrap();
    overlay.discard(100, 10_000).unwrap();
    let all = read_all(&overlay);
    assert!(all[..4096].iter().all(|&byte| byte == 9));
    assert!(all[4096..8192].iter().all(|&byte| byte == 0));
    assert!(all[8192..16_384].iter().all(|&byte| byte == 9));
    assert!(all[16_384..] == base[16_384..]);
    overlay.discard(1, 10).unwrap();
    overlay.discard(0, LEN as u64).unwrap();
    assert!(overlay.discard(1, u64::MAX).is_err());
}

#[test]
fn random_writes_match_a_model() {
    let directory = TestDirectory::new();
    let (overlay, mut expected) = overlay(&directory);
    let random = pattern(4000, 5);
    for (step, word) in random.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(word.try_into().unwrap());
        let offset = (word % LEN as u64) as usize;
        let len = ((word >> 40) % 9000) as usize % (LEN - offset);
        if step % 5 == 0 {
            overlay
                .write_zeroes(offset as u64, len as u64, false)
                .unwrap();
            expected[offset..offset + len].fill(0);
        } else {
            let data = pattern(len, word);
            overlay.write_at(&data, offset as u64).unwrap();
            expected[offset..offset + len].copy_from_slice(&data);
        }
        let mut read = vec![0; LEN - offset];
        overlay.read_at(&mut read, offset as u64).unwrap();
        assert!(read == expected[offset..], "step {step}");
    }
}

#[test]
fn the_base_is_not_touched_and_no_file_is_left() {
    let directory = TestDirectory::new();
    let (overlay, base) = overlay(&directory);
    overlay.write_at(&[1; 4096], 0).unwrap();
    assert!(crate::testing::bytes_of(&directory.path("base")) == base);
    let names: Vec<_> = std::fs::read_dir(std::env::temp_dir())
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("innkeeper-overlay"))
        .collect();
    assert!(names.is_empty(), "{names:?}");
    assert!(overlay.identify().ends_with("base (temporary overlay)"));
}
