use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::{Bytes, GuestAddress};

use super::{DamagedIndex, header, read_index, tile_of};
use crate::{Gpa, GuestMemory, Layer, MemoryPlan, PAGE_SHIFT, PAGE_SIZE, RamRange, Run};

const HIGH: u64 = 0x1_0000_0000;
const PAGES: u64 = 64;

fn memory() -> GuestMemory {
    let range = |base| RamRange {
        base: Gpa(base),
        len: PAGES * PAGE_SIZE,
    };
    GuestMemory::new(&[range(0), range(HIGH)]).expect("memory")
}

fn file() -> File {
    File::from(memfd_create("record", MemfdFlags::CLOEXEC).expect("a file"))
}

fn place(page: u64) -> GuestAddress {
    GuestAddress(if page < PAGES {
        page * PAGE_SIZE
    } else {
        HIGH + (page - PAGES) * PAGE_SIZE
    })
}

fn write(memory: &GuestMemory, page: u64, value: u8) {
    let content = [value; 1 << PAGE_SHIFT];
    memory
        .ram()
        .write_slice(&content, place(page))
        .expect("inside");
}

fn content(memory: &GuestMemory) -> Vec<u8> {
    let byte = |page| memory.ram().read_obj(place(page)).expect("inside");
    (0..2 * PAGES).map(byte).collect()
}

fn record(memory: &GuestMemory, layers: &[Layer]) -> Layer {
    let (pages, mut index) = (file(), file());
    let recording = memory.record(layers, &pages, &index).expect("a record");
    recording.finish().expect("it is written");
    let mut bytes = Vec::new();
    index.rewind().expect("a file");
    index.read_to_end(&mut bytes).expect("a file");
    Layer {
        file: Arc::new(pages),
        runs: read_index(&bytes).expect("an index"),
    }
}

fn run(first: u64, count: u64, zero: bool) -> Run {
    Run {
        zero,
        ..Run::in_place(first, count)
    }
}

#[test]
fn a_record_has_what_is_not_zero_and_becomes_memory_again() {
    let memory = memory();
    for (page, value) in [(0, 1), (1, 2), (5, 3), (30, 4), (PAGES - 1, 5), (PAGES, 6)] {
        write(&memory, page, value);
    }
    let layer = record(&memory, &[]);
    // Near ones are one run, also from one range to the next.
    let expected = [
        run(0, 6, false),
        run(30, 1, false),
        run(PAGES - 1, 2, false),
    ];
    assert_eq!(layer.runs, expected);
    let restored = self::memory();
    restored.map_layers(&[layer]).expect("it fits");
    assert_eq!(content(&restored), content(&memory));
}

#[test]
fn a_second_record_has_what_is_other_than_in_the_first() {
    let memory = memory();
    for page in [0, 1, 2, 3, 80] {
        write(&memory, page, 1);
    }
    let first = record(&memory, &[]);
    write(&memory, 1, 0);
    write(&memory, 2, 7);
    write(&memory, 80, 1);
    write(&memory, 90, 8);
    let second = record(&memory, std::slice::from_ref(&first));
    let expected = [run(1, 1, true), run(2, 1, false), run(90, 1, false)];
    assert_eq!(second.runs, expected);
    let third = record(&memory, &[first.clone(), second.clone()]);
    assert_eq!(third.runs, []);
    let restored = self::memory();
    restored
        .map_layers(&[first, second, third])
        .expect("they fit");
    assert_eq!(content(&restored), content(&memory));
}

#[test]
fn rows_of_the_same_page_are_in_the_file_a_few_times() {
    let memory = memory();
    for page in 0..2 * PAGES {
        write(
            &memory,
            page,
            if (3..50).contains(&page) { 0xcc } else { 1 },
        );
    }
    // Not quite long enough, and from one range to the next.
    for page in 60..PAGES + 40 {
        write(&memory, page, 9);
    }
    let first = record(&memory, &[]);
    let stored = std::os::unix::fs::MetadataExt::blocks(&first.file.metadata().expect("a file"));
    assert!(stored * 512 < 80 * PAGE_SIZE, "{stored}");
    let rows = first.runs.iter().filter(|run| run.period < run.count);
    // 24 pages are too few.
    let rows: Vec<_> = rows.map(|run| (run.count, run.period)).collect();
    assert_eq!(rows, [(47, 16), (40, 16)]);
    let restored = self::memory();
    restored
        .map_layers(std::slice::from_ref(&first))
        .expect("it fits");
    assert_eq!(content(&restored), content(&memory));
    // What is written over one of them is no other's.
    write(&restored, 20, 7);
    write(&memory, 20, 7);
    assert_eq!(content(&restored), content(&memory));
    for page in 10..48 {
        write(&memory, page, 0xdd);
    }
    let second = record(&memory, std::slice::from_ref(&first));
    assert!(second.runs.iter().any(|run| run.period < run.count));
    let restored = self::memory();
    restored.map_layers(&[first, second]).expect("they fit");
    assert_eq!(content(&restored), content(&memory));
}

#[test]
fn a_row_of_any_length_is_one_run_of_few_pieces() {
    for count in [32, 4097, 1 << 22, 1 << 40] {
        let (tile, bits) = tile_of(count);
        let mut bytes = header(u64::MAX, 1, true).to_vec();
        bytes.extend(3u64.to_le_bytes());
        bytes.extend((count | bits).to_le_bytes());
        let runs = read_index(&bytes).expect("an index");
        assert_eq!(
            runs,
            [Run {
                period: tile,
                ..run(3, count, false)
            }]
        );
        assert!(
            tile < count && count.div_ceil(tile) <= 256,
            "{count} {tile}"
        );
    }
}

#[test]
fn repeated_pages_as_they_were_once_told_are_read() {
    // One run of 40 pages from page 3 on, in 128 pages of RAM, byte by byte: as version 2 had it first, and later.
    for mark in [1 << 62, 4 << 56] {
        let mut bytes = b"INNKPAGE\x02\0\0\0\0\0\0\0".to_vec();
        bytes.extend([128u64, 1, 3, 40 | mark].map(u64::to_le_bytes).concat());
        let repeated = Run {
            period: 16,
            ..run(3, 40, false)
        };
        assert_eq!(read_index(&bytes), Ok(vec![repeated]), "{mark:#x}");
    }
}

#[test]
fn repeated_pages_that_cannot_be_are_refused() {
    let index = |count: u64, bits: u64| {
        let mut bytes = header(128, 1, true).to_vec();
        bytes.extend(3u64.to_le_bytes());
        bytes.extend((count | bits << 56).to_le_bytes());
        read_index(&bytes).expect("an index")
    };
    let guest = memory();
    let mut layer = Layer {
        file: Arc::new(file()),
        runs: Vec::new(),
    };
    layer.file.set_len(256 * PAGE_SIZE).expect("room");
    for (count, bits) in [(0, 4), (1 << 40, 4), ((1 << 56) - 1, 63), (40, 3), (40, 1)] {
        layer.runs = index(count, bits);
        let refused = guest.map_layers(std::slice::from_ref(&layer));
        assert!(refused.is_err(), "{count} {bits}");
    }
    let runs = index(40, 4);
    // One whose file has fewer of them than are mapped.
    let layer = Layer {
        file: Arc::new(file()),
        runs,
    };
    layer.file.set_len(18 * PAGE_SIZE).expect("room");
    assert!(memory().map_layers(&[layer]).is_err());
}

#[test]
fn what_is_written_meanwhile_is_not_in_the_record() {
    let memory = memory();
    for page in 0..2 * PAGES {
        // No two beside each other are the same, which would be there once.
        write(&memory, page, if page % 2 == 0 { 1 } else { 3 });
    }
    let (pages, index) = (file(), file());
    let recording = memory.record(&[], &pages, &index).expect("a record");
    for page in 0..2 * PAGES {
        write(&memory, page, 2);
    }
    recording.finish().expect("it is written");
    let mut found = vec![0; usize::try_from(2 * PAGES * PAGE_SIZE).expect("small")];
    pages.read_exact_at(&mut found, 0).expect("it is there");
    assert!(found.iter().all(|byte| [1, 3].contains(byte)));
}

#[test]
fn memory_that_is_seen_elsewhere_is_recorded_as_it_is_itself() {
    let range = |base, len| RamRange {
        base: Gpa(base),
        len,
    };
    let (ram, rom) = ([range(0, 4 << 20)], range(0xffff_0000, 0x1_0000));
    let planned = || {
        let plan = MemoryPlan {
            ram: &ram,
            rom: Some(rom),
            pluggable: None,
        };
        GuestMemory::planned(&plan).expect("memory")
    };
    let memory = planned();
    let shadow = range(0xf_0000, 0x1_0000);
    memory.write_own(shadow.base, &[1]).expect("memory");
    memory.write_own(rom.base, &[2]).expect("memory");
    memory.write_own(Gpa(3 << 20), &[3]).expect("memory");
    memory.show(shadow, rom.base).expect("shared memory");
    let layer = record(&memory, &[]);
    let restored = planned();
    restored
        .map_layers(std::slice::from_ref(&layer))
        .expect("it fits");
    for memory in [&memory, &restored] {
        let own = |at| {
            let mut byte = [0];
            memory.read_own(Gpa(at), &mut byte).expect("memory");
            byte[0]
        };
        assert_eq!(
            [own(shadow.base.0), own(rom.base.0), own(3 << 20)],
            [1, 2, 3]
        );
    }
    restored.show(shadow, rom.base).expect("shared memory");
    assert_eq!(record(&restored, &[layer]).runs, []);
}

#[test]
fn a_record_that_cannot_be_written_says_so() {
    let memory = memory();
    write(&memory, 0, 1);
    let read_only = File::open("/dev/null").expect("it is there");
    let failed = memory.record(&[], &read_only, &file()).expect("it begins");
    assert!(failed.finish().is_err());
    let failed = memory.record(&[], &file(), &read_only).expect("it begins");
    assert!(failed.finish().is_err());
}

#[test]
fn bytes_that_are_no_index_are_refused() {
    let good = header(8, 0, false);
    assert_eq!(read_index(&good), Ok(Vec::new()));
    assert_eq!(read_index(&good[..31]), Err(DamagedIndex("is too short")));
    let mut other = good;
    other[0] = 0;
    assert_eq!(read_index(&other), Err(DamagedIndex("is none")));
    let mut newer = good;
    newer[8] = 4;
    assert_eq!(
        read_index(&newer),
        Err(DamagedIndex("is of another version"))
    );
    for runs in [1, 1 << 22, u64::MAX] {
        let long = header(8, runs, false);
        assert_eq!(
            read_index(&long),
            Err(DamagedIndex("is not as long as it says"))
        );
    }
}
