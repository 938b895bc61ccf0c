//! A process that writes to an image is killed, again and again. What it was told is flushed must be
//! there, and the image whole.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use block::image::{NewImage, create};
use block::{BlockDevice, Qcow2Disk, Repair};

/// Where the writer finds its image, and where it goes on.
const IMAGE: &str = "INNKEEPER_KILL_IMAGE";
const ROUND: &str = "INNKEEPER_KILL_ROUND";
const ROUNDS: u64 = 25;
const SECTOR: u64 = 512;
/// Of the disk that is written.
const SECTORS: u64 = 40_000;

/// A sector that says which write it is of.
fn sector(place: u64, number: u64) -> Vec<u8> {
    [place, number].map(u64::to_le_bytes).concat().repeat(32)
}

/// The places that write `number` is to: as if at random, and the same for whoever asks.
fn places(number: u64) -> impl Iterator<Item = u64> {
    let first = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let count = number % 23 + 1;
    (0..count).map(move |index| (first + index) % SECTORS)
}

/// No test: what the others start and kill. It says on its output what is flushed.
#[test]
fn writer() {
    let Some(image) = std::env::var_os(IMAGE) else {
        return;
    };
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let disk = Qcow2Disk::open(Path::new(&image), false).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nready").unwrap();
    for number in round << 32.. {
        for place in places(number) {
            let bytes = sector(place, number);
            disk.write_at(&bytes, place * SECTOR).unwrap();
        }
        if number % 11 == 5 {
            disk.flush().unwrap();
            writeln!(out, "flushed {number}").unwrap();
        }
    }
}

fn kill_rounds(lazy_refcounts: bool, cluster_bits: u32) {
    let name = format!("innkeeper-kill-{}-{cluster_bits}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    let image = directory.join("image.qcow2");
    let new = NewImage {
        size: Some(SECTORS * SECTOR),
        cluster_bits,
        lazy_refcounts,
        ..NewImage::default()
    };
    create(&image, &new).unwrap();
    // By place, the least number of the write that must be there.
    let mut least = vec![0u64; usize::try_from(SECTORS).unwrap()];
    for round in 1..=ROUNDS {
        let flushed = kill_one(&image, round);
        for number in round << 32..=flushed {
            for place in places(number) {
                least[usize::try_from(place).unwrap()] = number;
            }
        }
        if !lazy_refcounts {
            assert!(qemu_checks(&image, &[0, 3]), "round {round}");
        }
        let disk = Qcow2Disk::open(&image, false).unwrap();
        let mut bytes = vec![0; 512];
        for (place, least) in (0u64..).zip(&mut least) {
            disk.read_at(&mut bytes, place * SECTOR).unwrap();
            let number = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
            let known = number == 0 || places(number).any(|it| it == place);
            let whole = number == 0 || bytes == sector(place, number);
            assert!(
                known && whole,
                "round {round}: sector {place} holds anything"
            );
            assert!(
                number >= *least,
                "round {round}: sector {place} lost write {least}"
            );
            *least = number;
        }
        let report = disk.check(Repair::Nothing).unwrap();
        assert_eq!((report.errors, report.leaks), (0, 0), "round {round}");
        disk.close().unwrap();
        drop(disk);
        assert!(qemu_checks(&image, &[0]), "round {round}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Starts a writer, lets it flush a while, kills it; the last write that it knew to be flushed.
fn kill_one(image: &PathBuf, round: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer", "--nocapture", "--test-threads=1"])
        .env(IMAGE, image)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut flushed = 0;
    let mut left = round * 7 % 29 + 1;
    for line in lines {
        let line = line.unwrap();
        if let Some(number) = line.strip_prefix("flushed ") {
            flushed = number.parse().unwrap();
            left = left.saturating_sub(1);
            if left == 0 {
                // It goes on meanwhile: what else it says is read to the end.
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    assert!(flushed > 0, "the writer did not begin");
    flushed
}

/// Does qemu-img end with one of these? True where it is not installed.
fn qemu_checks(image: &Path, statuses: &[i32]) -> bool {
    let Ok(done) = Command::new("qemu-img").arg("check").arg(image).output() else {
        eprintln!("SKIPPED: qemu-img is not here");
        return true;
    };
    let status = done.status.code().unwrap_or(-1);
    if !statuses.contains(&status) {
        eprintln!("{}", String::from_utf8_lossy(&done.stdout));
    }
    statuses.contains(&status)
}

#[test]
fn no_flushed_write_is_lost() {
    kill_rounds(false, 16);
}

#[test]
fn no_flushed_write_is_lost_with_small_clusters() {
    kill_rounds(false, 9);
}

#[test]
fn no_flushed_write_is_lost_with_lazy_counts() {
    kill_rounds(true, 12);
}
