//! What bitmaps promise is so: after any work, after any cut, whoever wrote.
#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustix::io::Errno;

use crate::qcow2::bitmaps::{Bits, MAX_OWN};
use crate::qcow2::{Header, NewQcow2, write_new};
use crate::storage::Storage;
use crate::testing::{TestDirectory, TestStorage, after_power_cut, bytes_of, pattern, qemu_img};
use crate::{BlockDevice, Checkpoint, Qcow2Disk, Repair, image};

const DISK: u64 = 8 << 20;
/// Bytes that a bit of ours stands for.
const PIECE: u64 = 64 << 10;

fn new_image(cluster_bits: u32, backing: Option<(String, String)>) -> Vec<u8> {
    let storage = TestStorage::default();
    let new = NewQcow2 {
        size: DISK,
        cluster_bits,
        lazy_refcounts: false,
        backing,
    };
    write_new(&storage, &new).unwrap();
    storage.bytes()
}

fn open(storage: &Arc<TestStorage>) -> Qcow2Disk {
    let path = PathBuf::from("(test)");
    let header = Header::read(&**storage, &path, true).unwrap();
    let storage: Arc<dyn Storage> = Arc::<TestStorage>::clone(storage);
    Qcow2Disk::over(storage, path, header, false, None).unwrap()
}

fn named(name: &str, since: Option<&str>) -> Checkpoint {
    Checkpoint {
        name: format!("innkeeper-{name}"),
        since: since.map(|since| format!("innkeeper-{since}")),
        forget: Vec::new(),
    }
}

/// What is the same since `since`, by a disk that then begins `name`.
fn take(disk: &Qcow2Disk, name: &str, since: Option<&str>) -> Vec<Range<u64>> {
    disk.checkpoint(&named(name, since)).unwrap().unwrap()
}

fn bytes_in(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

fn assert_same(ranges: &[Range<u64>], before: &[u8], now: &[u8], what: &str) {
    for range in ranges {
        let range = range.start as usize..range.end as usize;
        let same = before.get(range.clone()) == now.get(range.clone());
        assert!(same, "{what}: {range:?} is not what it was");
    }
}

/// Writes and discards here and there, in the second half of the disk mostly.
fn work(disk: &Qcow2Disk, seed: u64, steps: usize) {
    let random = pattern(4 * steps, seed);
    for (number, step) in random.chunks(4).enumerate() {
        let at = u64::from(u16::from_le_bytes([step[0], step[1]]));
        let at = (DISK / 2 + at * 512 % (DISK / 2)).min(DISK - (32 << 10));
        let len = (u64::from(step[2]) % 60 + 1) * 512;
        let _ = match step[3] % 8 {
            0..=3 => disk.write_at(&vec![number as u8 + 1; len as usize], at),
            4 => disk.discard(at, len),
            5 => disk.write_zeroes(at, len, true),
            6 => disk.write_zeroes(at, len, false),
            _ => disk.flush(),
        };
    }
}

/// A disk that is full of something, closed when `first` of it was known.
fn prepared(cluster_bits: u32) -> (Arc<TestStorage>, Vec<u8>) {
    let storage = Arc::new(TestStorage::holding(new_image(cluster_bits, None)));
    let disk = open(&storage);
    disk.write_at(&pattern(DISK as usize, 1), 0).unwrap();
    assert!(take(&disk, "first", None).is_empty());
    let bytes = storage.bytes();
    drop(disk);
    (storage, bytes)
}

#[test]
fn what_did_not_change_is_known_after_reopening() {
    for cluster_bits in [9, 12, 16, 21] {
        let (storage, before) = prepared(cluster_bits);
        let disk = open(&storage);
        disk.write_at(&[9; 512], 3 * PIECE + 512).unwrap();
        let same = take(&disk, "second", Some("first"));
        let cluster = 1u64 << cluster_bits;
        let changed = cluster.max(PIECE);
        assert_eq!(
            bytes_in(&same),
            DISK - changed,
            "clusters of 2^{cluster_bits}"
        );
        assert_same(&same, &before, &storage.bytes(), "reopened");
        // Both count from then on.
        let then = storage.bytes();
        disk.write_at(&[8; 512], 40 * PIECE).unwrap();
        drop(disk);
        let disk = open(&storage);
        let since_first = take(&disk, "third", Some("first"));
        let since_second = take(&disk, "fourth", Some("second"));
        assert!(bytes_in(&since_first) <= bytes_in(&since_second));
        assert!(bytes_in(&since_second) >= DISK - 2 * changed);
        assert_same(&since_second, &then, &storage.bytes(), "since the second");
        let report = disk.check(Repair::Nothing).unwrap();
        assert_eq!((report.errors, report.leaks), (0, 0), "{report:?}");
    }
}

#[test]
fn any_work_leaves_what_is_promised() {
    for (cluster_bits, seed) in [(9, 3), (9, 4), (12, 5), (12, 6), (16, 7), (16, 8)] {
        let (storage, before) = prepared(cluster_bits);
        for round in 0..3 {
            let disk = open(&storage);
            work(&disk, seed * 100 + round, 40);
            if round == 1 {
                // What shares clusters with the disk leaves them where they are.
                disk.create_snapshot("inside").unwrap();
            }
        }
        let disk = open(&storage);
        disk.flush().unwrap();
        let same = take(&disk, "second", Some("first"));
        assert!(bytes_in(&same) >= DISK / 2, "{}", bytes_in(&same));
        assert_same(&same, &before, &storage.bytes(), "after work");
    }
}

#[test]
fn a_cut_at_any_point_leaves_bitmaps_that_are_right_or_none() {
    for cluster_bits in [9, 12] {
        let (storage, before) = prepared(cluster_bits);
        let start = storage.bytes();
        let storage = Arc::new(TestStorage::holding(start.clone()));
        let disk = open(&storage);
        work(&disk, 17, 30);
        drop(disk);
        let disk = open(&storage);
        work(&disk, 18, 10);
        take(&disk, "second", Some("first"));
        work(&disk, 19, 10);
        drop(disk);
        let log = storage.log();
        let mut known = 0;
        for cut in 0..=log.len() {
            for in_order in [false, true] {
                let bytes = after_power_cut(&start, &log, cut, cut as u64 * 7, in_order);
                let left = Arc::new(TestStorage::holding(bytes));
                let disk = open(&left);
                let what = format!("cut {cut} of {}, in order {in_order}", log.len());
                let report = disk.check(Repair::Nothing).unwrap();
                assert_eq!((report.errors, report.leaks), (0, 0), "{what}: {report:?}");
                let same = take(&disk, "third", Some("first"));
                known += usize::from(!same.is_empty());
                assert_same(&same, &before, &left.bytes(), &what);
                drop(disk);
                let report = open(&left).check(Repair::Nothing).unwrap();
                assert_eq!((report.errors, report.leaks), (0, 0), "{what}: {report:?}");
            }
        }
        assert!(known > 0, "a bitmap that was written is known");
    }
}

#[test]
fn every_write_can_fail() {
    let (storage, before) = prepared(12);
    let start = storage.bytes();
    let run = |storage: &Arc<TestStorage>| {
        let disk = open(storage);
        work(&disk, 23, 30);
        let _ = disk.checkpoint(&named("second", Some("first")));
        work(&disk, 24, 10);
    };
    let storage = Arc::new(TestStorage::holding(start.clone()));
    run(&storage);
    for fails in 0..storage.position() {
        let storage = Arc::new(TestStorage::holding(start.clone()));
        storage.fail(fails, Errno::NOSPC);
        run(&storage);
        let disk = open(&storage);
        let what = format!("change {fails} failed");
        let same = take(&disk, "third", Some("first"));
        assert_same(&same, &before, &storage.bytes(), &what);
        let report = disk.check(Repair::Nothing).unwrap();
        assert_eq!((report.errors, report.leaks), (0, 0), "{what}: {report:?}");
    }
}

#[test]
fn another_disk_is_no_longer_known() {
    let resized = |disk: &Qcow2Disk| disk.resize(2 * DISK).unwrap();
    let reverted = |disk: &Qcow2Disk| {
        disk.create_snapshot("inside").unwrap();
        disk.apply_snapshot("inside").unwrap();
    };
    let given_away = |disk: &Qcow2Disk| {
        disk.hold(false).unwrap();
        disk.hold(true).unwrap();
    };
    let changes: [&dyn Fn(&Qcow2Disk); 3] = [&resized, &reverted, &given_away];
    for (number, change) in changes.iter().enumerate() {
        let (storage, _) = prepared(16);
        let disk = open(&storage);
        change(&disk);
        assert!(
            take(&disk, "second", Some("first")).is_empty(),
            "change {number}"
        );
        drop(disk);
        let disk = open(&storage);
        assert!(take(&disk, "third", Some("first")).is_empty());
        assert!(
            !take(&disk, "fourth", Some("second")).is_empty(),
            "change {number}: a new one counts"
        );
    }
}

#[test]
fn an_unknown_name_and_a_forgotten_one_promise_nothing() {
    let (storage, _) = prepared(16);
    let disk = open(&storage);
    assert!(take(&disk, "second", Some("elsewhere")).is_empty());
    let forget = Checkpoint {
        forget: vec!["innkeeper-first".into()],
        ..named("third", Some("second"))
    };
    assert!(!disk.checkpoint(&forget).unwrap().unwrap().is_empty());
    assert!(take(&disk, "fourth", Some("first")).is_empty());
    // No more than a few are kept, whatever was not forgotten; that which is built upon is.
    for number in 5..20 {
        let same = take(&disk, &number.to_string(), Some("third"));
        assert!(!same.is_empty(), "{number}");
    }
    assert_eq!(disk.bitmaps_alone().list.len(), MAX_OWN);
}

#[test]
fn a_disk_that_is_only_read_keeps_no_books() {
    let (storage, _) = prepared(16);
    let path = PathBuf::from("(test)");
    let header = Header::read(&*storage, &path, false).unwrap();
    let disk = Qcow2Disk::over(storage, path, header, true, None).unwrap();
    assert_eq!(disk.checkpoint(&named("second", None)).unwrap(), None);
}

#[test]
fn bits_stand_for_what_they_should() {
    let bits = Bits::new(16, 200 * PIECE);
    bits.mark(63 * PIECE + 1..65 * PIECE);
    bits.mark(130 * PIECE..130 * PIECE);
    for piece in 0..200 {
        let clean = bits.is_clean(piece * PIECE..(piece + 1) * PIECE);
        assert_eq!(clean, !(63..65).contains(&piece), "piece {piece}");
    }
    assert!(bits.is_clean(65 * PIECE..200 * PIECE));
    assert!(!bits.is_clean(0..64 * PIECE));
    assert!(bits.is_clean(0..0));
}

fn on_disk(directory: &TestDirectory, cluster_bits: u32) -> PathBuf {
    let path = directory.file("image", &new_image(cluster_bits, None));
    let disk = Qcow2Disk::open(&path, false).unwrap();
    disk.write_at(&pattern(DISK as usize, 1), 0).unwrap();
    take(&disk, "first", None);
    path
}

fn said(directory: &TestDirectory, program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program)
        .args(arguments)
        .current_dir(directory.path(""))
        .output()
        .unwrap();
    assert!(done.status.success(), "{program} {arguments:?}: {done:?}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn same_since(path: &Path, name: &str) -> Vec<Range<u64>> {
    let found = image::checkpoint(path, &named("next", Some(name)));
    found.unwrap().unwrap()
}

#[test]
fn qemu_img_sees_them_and_keeps_them() {
    let directory = TestDirectory::new();
    if !qemu_img(&directory, &["--version"]) {
        return;
    }
    for cluster_bits in [9, 16] {
        let path = on_disk(&directory, cluster_bits);
        let before = bytes_of(&path);
        qemu_img(&directory, &["check", "image"]);
        let info = said(&directory, "qemu-img", &["info", "image"]);
        assert!(info.contains("innkeeper-first"), "{info}");
        assert!(!info.contains("in-use"), "{info}");
        // It marks what it writes, as we do in one of its own.
        qemu_img(&directory, &["bitmap", "--add", "image", "others"]);
        let write = ["-f", "qcow2", "-c", "write -P 7 1M 64k", "image"];
        said(&directory, "qemu-io", &write);
        {
            let disk = Qcow2Disk::open(&path, false).unwrap();
            disk.write_at(&[1; 512], 2 << 20).unwrap();
        }
        qemu_img(&directory, &["check", "image"]);
        let info = said(&directory, "qemu-img", &["info", "image"]);
        assert!(
            info.contains("others") && !info.contains("in-use"),
            "{info}"
        );
        let same = same_since(&path, "first");
        assert_eq!(bytes_in(&same), DISK - 2 * PIECE);
        assert_same(&same, &before, &bytes_of(&path), "by both");
        // What qemu-img removes is gone.
        qemu_img(
            &directory,
            &["bitmap", "--remove", "image", "innkeeper-first"],
        );
        assert!(same_since(&path, "first").is_empty());
        qemu_img(&directory, &["check", "image"]);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn who_does_not_close_it_leaves_it_in_use() {
    let directory = TestDirectory::new();
    if !qemu_img(&directory, &["--version"]) {
        return;
    }
    let path = on_disk(&directory, 16);
    let disk = Qcow2Disk::open(&path, false).unwrap();
    disk.write_at(&[1; 512], 0).unwrap();
    let left = bytes_of(&path);
    drop(disk);
    std::fs::write(&path, left).unwrap();
    let info = said(&directory, "qemu-img", &["info", "-U", "image"]);
    assert!(info.contains("in-use"), "{info}");
    assert!(same_since(&path, "first").is_empty());
    let info = said(&directory, "qemu-img", &["info", "image"]);
    assert!(!info.contains("innkeeper-first"), "{info}");
    qemu_img(&directory, &["check", "image"]);
}

#[test]
fn a_writer_that_knows_no_bitmaps_makes_them_void() {
    let directory = TestDirectory::new();
    let path = on_disk(&directory, 16);
    let mut bytes = bytes_of(&path);
    assert_eq!(bytes[88..96], 1u64.to_be_bytes());
    bytes[88..96].fill(0);
    std::fs::write(&path, bytes).unwrap();
    assert!(same_since(&path, "first").is_empty());
    let _ = image::check(&path, crate::Format::Qcow2, Repair::Leaks).unwrap();
    qemu_img(&directory, &["check", "image"]);
}

#[test]
fn images_of_others_get_room_for_them() {
    let directory = TestDirectory::new();
    directory.file("base", &pattern(DISK as usize, 5));
    let size = DISK.to_string();
    for clusters in ["cluster_size=65536", "cluster_size=4096"] {
        let make = [
            "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base", "-o", clusters, "image",
            &size,
        ];
        if !qemu_img(&directory, &make) {
            return;
        }
        let path = directory.path("image");
        assert!(same_since(&path, "first").is_empty());
        qemu_img(&directory, &["check", "image"]);
        let info = said(&directory, "qemu-img", &["info", "image"]);
        assert!(info.contains("innkeeper-next"), "{info}");
        assert!(info.contains("backing file: base"), "{info}");
        {
            let disk = Qcow2Disk::open(&path, false).unwrap();
            disk.write_at(&[1; 512], 0).unwrap();
        }
        qemu_img(&directory, &["check", "image"]);
        let base = bytes_of(&directory.path("base"));
        let mut held = vec![0; DISK as usize];
        let disk = Qcow2Disk::open(&path, true).unwrap();
        disk.read_at(&mut held, 0).unwrap();
        assert!(held[512..] == base[512..]);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_directory_that_makes_no_sense_is_let_go() {
    let directory = TestDirectory::new();
    let path = on_disk(&directory, 16);
    let whole = bytes_of(&path);
    let at = |bytes: &[u8]| {
        let kind = 0x2385_2875_u32.to_be_bytes();
        bytes.windows(4).position(|found| found == kind).unwrap()
    };
    let extension = at(&whole);
    let place = u64::from_be_bytes(whole[extension + 24..extension + 32].try_into().unwrap());
    // Its count, its length, its place; an entry's table, its length, its granularity, its name.
    let fields = [
        (extension + 8, 4),
        (extension + 16, 8),
        (extension + 24, 8),
        (place as usize, 8),
        (place as usize + 8, 4),
        (place as usize + 17, 1),
        (place as usize + 18, 2),
    ];
    for (at, len) in fields {
        for value in [0xffu8, 0x01, 0x00] {
            let mut bytes = whole.clone();
            bytes[at..at + len].fill(value);
            if bytes == whole {
                continue;
            }
            std::fs::write(&path, bytes).unwrap();
            assert!(
                same_since(&path, "first").is_empty(),
                "field {at}: {value:#x}"
            );
            let mut held = vec![0; DISK as usize];
            let disk = Qcow2Disk::open(&path, true).unwrap();
            disk.read_at(&mut held, 0).unwrap();
            assert!(held == pattern(DISK as usize, 1));
        }
    }
}
