//! What is left when power fails, or a write does, at every point of what an image does to its file.
#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use crate::qcow2::{Header, NewQcow2, write_new};
use crate::storage::Storage;
use crate::testing::{TestDirectory, TestStorage, after_power_cut, pattern, qemu_img};
use crate::{BlockDevice, Qcow2Disk, Repair, lacks_room};

const SECTOR: usize = 512;
const SECTORS: usize = 512;

fn new_image(lazy_refcounts: bool, cluster_bits: u32) -> Vec<u8> {
    let storage = TestStorage::default();
    let new = NewQcow2 {
        size: (SECTORS * SECTOR) as u64,
        cluster_bits,
        lazy_refcounts,
        backing: None,
    };
    write_new(&storage, &new).unwrap();
    storage.bytes()
}

fn open(storage: Arc<TestStorage>, read_only: bool) -> Qcow2Disk {
    let path = PathBuf::from("(test)");
    let header = Header::read(&*storage, &path, !read_only).unwrap();
    Qcow2Disk::over(storage, path, header, read_only, None).unwrap()
}

/// Nothing is damaged, and nothing is counted that nobody has.
fn assert_sound(disk: &Qcow2Disk, what: &str) {
    let report = disk.check(Repair::Nothing).unwrap();
    assert_eq!((report.errors, report.leaks), (0, 0), "{what}: {report:?}");
}

/// What each sector may hold: what it held when a flush was acknowledged last, and what was written
/// since, with the number of the storage's change by which it may be there.
struct Model {
    held: Vec<Vec<(usize, u32)>>,
}

impl Model {
    fn new() -> Model {
        Model {
            held: vec![vec![(0, 0)]; SECTORS],
        }
    }

    fn may_hold(&mut self, range: std::ops::Range<usize>, value: u32, from: usize) {
        for sector in &mut self.held[range] {
            sector.push((from, value));
        }
    }

    /// A discard, and what failed, may leave what was there; it is one or the other for good.
    fn look(&mut self, disk: &dyn BlockDevice, range: std::ops::Range<usize>, from: usize) {
        let mut now = vec![0; SECTOR];
        for sector in range {
            disk.read_at(&mut now, (sector * SECTOR) as u64).unwrap();
            let found = u32::from_le_bytes(now[..4].try_into().unwrap());
            self.may_hold(sector..sector + 1, found, from);
        }
    }

    fn flushed(&mut self) {
        for sector in &mut self.held {
            let last = sector.last().copied().unwrap();
            *sector = vec![last];
        }
    }

    fn check(&self, disk: &dyn BlockDevice, until: usize, what: &str) {
        let mut bytes = vec![0; SECTOR];
        for (number, held) in self.held.iter().enumerate() {
            disk.read_at(&mut bytes, (number * SECTOR) as u64).unwrap();
            let found = u32::from_le_bytes(bytes[..4].try_into().unwrap());
            let whole = bytes.chunks(4).all(|word| word == &bytes[..4]);
            let allowed: BTreeSet<u32> = held
                .iter()
                .enumerate()
                .filter(|(index, (from, _))| *index == 0 || *from <= until)
                .map(|(_, (_, value))| *value)
                .collect();
            assert!(
                whole && allowed.contains(&found),
                "{what}: sector {number} holds {found}, not of {allowed:?}"
            );
        }
    }
}

/// Writes, discards, zeroes and flushes at random; `after` is called after every flush that was
/// acknowledged, with the storage's position.
fn work(
    disk: &Qcow2Disk,
    storage: &TestStorage,
    seed: u64,
    model: &mut Model,
    mut after: impl FnMut(&Model, usize),
) {
    let random = pattern(4 * 120, seed);
    for (number, step) in random.chunks(4).enumerate() {
        let value = number as u32 + 1;
        let first = usize::from(u16::from_le_bytes([step[0], step[1]])) % SECTORS;
        let count = (usize::from(step[2]) % 24 + 1).min(SECTORS - first);
        let (at, len) = ((first * SECTOR) as u64, (count * SECTOR) as u64);
        let before = storage.position();
        match step[3] % 10 {
            0..=5 => {
                let data: Vec<u8> = value.to_le_bytes().repeat(count * SECTOR / 4);
                model.may_hold(first..first + count, value, before);
                if disk.write_at(&data, at).is_err() {
                    model.look(disk, first..first + count, before);
                }
            }
            6 => {
                let _ = disk.discard(at, len);
                model.look(disk, first..first + count, before);
            }
            7 => {
                model.may_hold(first..first + count, 0, before);
                if disk.write_zeroes(at, len, true).is_err() {
                    model.look(disk, first..first + count, before);
                }
            }
            _ => {
                if disk.flush().is_ok() {
                    model.flushed();
                    after(model, storage.position());
                }
            }
        }
    }
}

/// The model as it was at each acknowledged flush, by the storage's position.
fn run(first: &[u8], seed: u64) -> (Arc<TestStorage>, Vec<(usize, Model)>) {
    let storage = Arc::new(TestStorage::holding(first.to_vec()));
    let disk = open(Arc::clone(&storage), false);
    let mut model = Model::new();
    let mut models = vec![(0, Model::new())];
    work(&disk, &storage, seed, &mut model, |model, position| {
        let held = model.held.clone();
        models.push((position, Model { held }));
    });
    // Of each flush's model, what was written until the next.
    models.push((usize::MAX, model));
    drop(disk);
    (storage, models)
}

/// Allowed content at a cut: that of the last flush before it, and what was written since.
fn model_at(models: &[(usize, Model)], writes: &[(usize, usize, usize, u32)], cut: usize) -> Model {
    let (from, model) = models.iter().rfind(|(at, _)| *at <= cut).unwrap();
    let mut held = model.held.clone();
    for &(at, first, count, value) in writes {
        if at >= *from && at <= cut {
            for sector in &mut held[first..first + count] {
                sector.push((at, value));
            }
        }
    }
    Model { held }
}

/// The same steps again, without a disk: which sectors could hold what from which change on.
fn writes_of(first: &[u8], seed: u64) -> Vec<(usize, usize, usize, u32)> {
    let storage = Arc::new(TestStorage::holding(first.to_vec()));
    let disk = open(Arc::clone(&storage), false);
    let mut writes = Vec::new();
    let random = pattern(4 * 120, seed);
    for (number, step) in random.chunks(4).enumerate() {
        let value = number as u32 + 1;
        let first = usize::from(u16::from_le_bytes([step[0], step[1]])) % SECTORS;
        let count = (usize::from(step[2]) % 24 + 1).min(SECTORS - first);
        let (at, len) = ((first * SECTOR) as u64, (count * SECTOR) as u64);
        let before = storage.position();
        match step[3] % 10 {
            0..=5 => {
                let data: Vec<u8> = value.to_le_bytes().repeat(count * SECTOR / 4);
                disk.write_at(&data, at).unwrap();
                writes.push((before, first, count, value));
            }
            6 => {
                disk.discard(at, len).unwrap();
                writes.push((before, first, count, 0));
            }
            7 => {
                disk.write_zeroes(at, len, true).unwrap();
                writes.push((before, first, count, 0));
            }
            _ => disk.flush().unwrap(),
        }
    }
    writes
}

fn power_cuts(lazy: bool, cluster_bits: u32, in_order: bool) {
    for seed in 1..6 {
        let first = new_image(lazy, cluster_bits);
        let (storage, models) = run(&first, seed * 977);
        let writes = writes_of(&first, seed * 977);
        let log = storage.log();
        for cut in 0..=log.len() {
            let bytes = after_power_cut(&first, &log, cut, cut as u64 * 31 + seed, in_order);
            let what = format!("seed {seed}, cut {cut} of {}", log.len());
            let left = Arc::new(TestStorage::holding(bytes));
            let before = open(Arc::clone(&left), true)
                .check(Repair::Nothing)
                .unwrap();
            if !lazy {
                assert_eq!(before.errors, 0, "{what}: {before:?}");
            }
            if before.leaks > 0 || before.errors > 0 {
                assert!(before.was_open, "{what}: nobody would look for {before:?}");
            }
            let disk = open(Arc::clone(&left), false);
            let model = model_at(&models, &writes, cut);
            model.check(&disk, cut, &what);
            assert_sound(&disk, &what);
        }
    }
}

#[test]
fn power_can_fail_at_any_point() {
    power_cuts(false, 9, false);
    power_cuts(false, 12, false);
}

#[test]
fn power_can_fail_at_any_point_with_lazy_counts() {
    power_cuts(true, 9, false);
    power_cuts(true, 12, false);
}

#[test]
fn the_process_can_be_killed_at_any_point() {
    power_cuts(false, 9, true);
    power_cuts(true, 12, true);
}

#[test]
fn what_a_cut_leaves_is_what_qemu_img_takes_for_clean() {
    let directory = TestDirectory::new();
    let first = new_image(false, 9);
    let (storage, _) = run(&first, 5);
    let log = storage.log();
    for cut in (0..=log.len()).step_by(97) {
        let bytes = after_power_cut(&first, &log, cut, cut as u64, false);
        let left = Arc::new(TestStorage::holding(bytes));
        drop(open(Arc::clone(&left), false));
        directory.file("image", &left.bytes());
        if !qemu_img(&directory, &["check", "image"]) {
            return;
        }
    }
}

#[test]
fn every_write_can_fail() {
    for error in [Errno::NOSPC, Errno::IO] {
        let first = new_image(false, 9);
        let seed = 4711;
        let changes = run(&first, seed).0.position();
        for fails in 0..changes {
            let storage = Arc::new(TestStorage::holding(first.clone()));
            storage.fail(fails, error);
            let disk = open(Arc::clone(&storage), false);
            let mut model = Model::new();
            work(&disk, &storage, seed, &mut model, |_, _| {});
            let what = format!("change {fails} failed");
            model.check(&disk, usize::MAX, &what);
            drop(disk);
            let before = open(Arc::clone(&storage), true)
                .check(Repair::Nothing)
                .unwrap();
            assert_eq!(before.errors, 0, "{what}: {before:?}");
            let disk = open(Arc::clone(&storage), false);
            model.check(&disk, usize::MAX, &what);
            assert_sound(&disk, &what);
        }
    }
}

#[test]
fn what_lacked_room_is_there_when_it_was_done_again() {
    /// Once more where the host had no room for it.
    fn patiently(action: impl Fn() -> io::Result<()>) -> io::Result<()> {
        match action() {
            Err(error) if lacks_room(error.kind()) => action(),
            done => done,
        }
    }
    let first = new_image(false, 9);
    let data = |round: usize| pattern(3 * SECTOR, round as u64 + 1);
    let place = |round: usize| (round * 7 % (SECTORS - 3) * SECTOR) as u64;
    let work = |disk: &Qcow2Disk| {
        (0..32).try_for_each(|round| {
            patiently(|| disk.write_at(&data(round), place(round)))?;
            patiently(|| disk.flush())
        })
    };
    let storage = Arc::new(TestStorage::holding(first.clone()));
    work(&open(Arc::clone(&storage), false)).unwrap();
    let (changes, mut ended) = (storage.position(), 0);
    for fails in 0..changes {
        let storage = Arc::new(TestStorage::holding(first.clone()));
        storage.fail(fails, Errno::NOSPC);
        let disk = open(Arc::clone(&storage), false);
        let done = work(&disk);
        if let Err(error) = &done {
            // A barrier failed, and nobody knows what became of what was written before.
            assert!(!lacks_room(error.kind()), "change {fails}: {error}");
            ended += 1;
        }
        drop(disk);
        let disk = open(Arc::clone(&storage), false);
        assert_sound(&disk, &format!("change {fails}"));
        let mut held = vec![0; 3 * SECTOR];
        for round in (0..32).filter(|_| done.is_ok()) {
            disk.read_at(&mut held, place(round)).unwrap();
            assert!(held == data(round), "change {fails}, round {round}");
        }
    }
    assert!(ended < changes, "{ended} of {changes}");
}

#[test]
fn snapshots_and_sizes_survive_a_cut_at_any_point() {
    let first = new_image(false, 9);
    let storage = Arc::new(TestStorage::holding(first.clone()));
    let disk = open(Arc::clone(&storage), false);
    let (old, new) = (vec![1; 64 * SECTOR], vec![2; 64 * SECTOR]);
    disk.write_at(&old, 0).unwrap();
    disk.flush().unwrap();
    let from = storage.position();
    disk.create_snapshot("one").unwrap();
    let taken = storage.position();
    disk.write_at(&new, 0).unwrap();
    disk.flush().unwrap();
    let written = storage.position();
    disk.apply_snapshot("one").unwrap();
    let applied = storage.position();
    disk.delete_snapshot("one").unwrap();
    disk.resize(64 << 20).unwrap();
    disk.resize((64 * SECTOR) as u64).unwrap();
    drop(disk);
    let log = storage.log();
    for cut in from..=log.len() {
        for seed in 0..4 {
            let bytes = after_power_cut(&first, &log, cut, cut as u64 * 4 + seed, seed == 0);
            let left = Arc::new(TestStorage::holding(bytes));
            let disk = open(left, false);
            let report = disk.check(Repair::Nothing).unwrap();
            assert_eq!(
                (report.errors, report.leaks),
                (0, 0),
                "cut {cut}: {report:?}"
            );
            let mut held = vec![0; 64 * SECTOR];
            disk.read_at(&mut held, 0).unwrap();
            let whole = held == old || held == new || (taken..written).contains(&cut);
            assert!(whole, "cut {cut}");
            if cut <= taken || cut >= applied {
                assert!(held == old, "cut {cut}");
            }
            if (taken..=applied).contains(&cut) {
                disk.apply_snapshot("one").unwrap();
                disk.read_at(&mut held, 0).unwrap();
                assert!(held == old, "cut {cut}");
            }
        }
    }
}

#[test]
fn every_write_of_snapshots_and_sizes_can_fail() {
    let (old, new) = (vec![1; 64 * SECTOR], vec![2; 64 * SECTOR]);
    let work = |disk: &Qcow2Disk| {
        let _ = disk.create_snapshot("one");
        let written = disk.write_at(&new, 0).and_then(|()| disk.flush());
        let _ = disk.apply_snapshot("one");
        let _ = disk.delete_snapshot("one");
        let _ = disk.resize(64 << 20);
        let _ = disk.resize((64 * SECTOR) as u64);
        written.is_ok()
    };
    let prepared = || {
        let storage = Arc::new(TestStorage::holding(new_image(false, 9)));
        let disk = open(Arc::clone(&storage), false);
        disk.write_at(&old, 0).unwrap();
        disk.flush().unwrap();
        (storage, disk)
    };
    let (storage, disk) = prepared();
    let from = storage.position();
    work(&disk);
    let changes = storage.position();
    for fails in from..changes {
        let (storage, disk) = prepared();
        storage.fail(fails, Errno::NOSPC);
        let written = work(&disk);
        drop(disk);
        let disk = open(Arc::clone(&storage), false);
        assert_sound(&disk, &format!("change {fails}"));
        let mut held = vec![0; 64 * SECTOR];
        disk.read_at(&mut held, 0).unwrap();
        assert!(held == old || held == new || !written, "change {fails}");
    }
}

#[test]
fn a_barrier_that_failed_is_not_forgotten() {
    let storage = Arc::new(TestStorage::holding(new_image(false, 9)));
    let disk = open(Arc::clone(&storage), false);
    disk.write_at(&[1; 512], 0).unwrap();
    disk.flush().unwrap();
    disk.write_at(&[2; 512], 0).unwrap();
    storage.fail(storage.position(), Errno::IO);
    disk.flush().unwrap_err();
    disk.flush()
        .expect_err("nobody knows what became of the write");
    disk.write_at(&[3; 512], 4096).unwrap_err();
    assert!(Storage::len(&*storage).unwrap() > 0);
}
