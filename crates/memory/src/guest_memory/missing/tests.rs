use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;

use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::Run;

const PAGE: usize = 1 << PAGE_SHIFT;
const PAGES: u64 = 2048;

/// Memory of two ranges, whose pages are numbered through.
fn memory() -> GuestMemory {
    let len = PAGES / 2 * PAGE_SIZE;
    let ranges = [Gpa(0), Gpa(1 << 32)].map(|base| RamRange { base, len });
    GuestMemory::new(&ranges).unwrap()
}

fn at(page: u64) -> GuestAddress {
    let half = PAGES / 2;
    match page < half {
        true => GuestAddress(page * PAGE_SIZE),
        false => GuestAddress((1 << 32) + (page - half) * PAGE_SIZE),
    }
}

fn some(pages: impl IntoIterator<Item = u64>) -> PageSet {
    let mut set = PageSet::new(PAGES);
    pages.into_iter().for_each(|page| set.insert(page));
    set
}

/// A file in which each page of `runs` is full of the lowest byte of its number.
fn layer(runs: &[(u64, u64)]) -> Layer {
    let file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
    for page in runs.iter().flat_map(|(first, count)| *first..first + count) {
        let byte = page.to_le_bytes()[0];
        file.write_all_at(&[byte; PAGE], page * PAGE_SIZE).unwrap();
    }
    Layer {
        file: Arc::new(file),
        runs: runs
            .iter()
            .map(|(first, count)| Run::in_place(*first, *count))
            .collect(),
    }
}

fn read(memory: &GuestMemory, page: u64) -> Vec<u8> {
    let mut bytes = vec![0; PAGE];
    memory.ram().read_slice(&mut bytes, at(page)).unwrap();
    bytes
}

/// `None` on a host that lets nobody have it.
fn userfault() -> Option<Userfault> {
    Userfault::open()
        .inspect_err(|error| eprintln!("not tested: userfaultfd: {error}"))
        .ok()
}

/// Until somebody waits.
fn wanted(pages: &MissingPages) -> Vec<u64> {
    loop {
        let wanted = pages.wanted().unwrap();
        if !wanted.is_empty() {
            return wanted;
        }
        thread::yield_now();
    }
}

#[test]
fn whoever_touches_what_is_missing_waits_until_it_comes() {
    let Some(userfault) = userfault() else { return };
    let memory = memory();
    let missing = some([7, 8, 1030]);
    let layers = [layer(&[(0, 7), (9, 100)])];
    let pages = memory.map_layers_without(&layers, missing, userfault);
    let pages = pages.unwrap();
    pages.begin().unwrap();
    assert_eq!((pages.left(), pages.all()), (3, PAGES));
    assert_eq!(read(&memory, 6), [6; PAGE]);
    assert_eq!(read(&memory, 9), [9; PAGE]);
    thread::scope(|scope| {
        let reader = scope.spawn(|| read(&memory, 1030));
        assert_eq!(wanted(&pages), [1030]);
        assert!(!reader.is_finished());
        pages.put(1030, Some(&[3; PAGE])).unwrap();
        assert_eq!(reader.join().unwrap(), [3; PAGE]);
    });
    pages.put(7, None).unwrap();
    pages.put(8, Some(&[8; PAGE])).unwrap();
    assert_eq!(pages.left(), 0);
    assert_eq!(read(&memory, 7), [0; PAGE]);
    assert_eq!(read(&memory, 8), [8; PAGE]);
    // What comes twice is not seen.
    pages.put(8, Some(&[9; PAGE])).unwrap();
    assert_eq!(read(&memory, 8), [8; PAGE]);
    drop(pages);
    assert_eq!(read(&memory, 2000), [0; PAGE]);
}

#[test]
fn a_system_call_waits_as_well() {
    let Some(userfault) = userfault() else { return };
    let memory = memory();
    let pages = memory
        .map_layers_without(&[], some([5]), userfault)
        .unwrap();
    pages.begin().unwrap();
    let file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
    file.write_all_at(b"from a file", 0).unwrap();
    thread::scope(|scope| {
        let reader = scope.spawn(|| memory.copy_from(&file, 0, 11, Gpa(5 * PAGE_SIZE + 100)));
        assert_eq!(wanted(&pages), [5]);
        pages.put(5, Some(&[b'x'; PAGE])).unwrap();
        reader.join().unwrap().unwrap();
    });
    assert_eq!(&read(&memory, 5)[99..112], b"xfrom a filex");
}

#[test]
fn what_is_given_back_is_zeros_whatever_comes() {
    let Some(userfault) = userfault() else { return };
    for layers in [vec![], vec![layer(&[(100, 50)])]] {
        let userfault = Userfault::open().unwrap_or_else(|_| unreachable!("{userfault:?}"));
        let memory = memory();
        let missing = some(20..24);
        let pages = memory.map_layers_without(&layers, missing, userfault);
        let pages = pages.unwrap();
        pages.begin().unwrap();
        let range = RamRange {
            base: Gpa(21 * PAGE_SIZE),
            len: 2 * PAGE_SIZE,
        };
        thread::scope(|scope| {
            // It waits when the page is given back, and goes on when it comes.
            let reader = scope.spawn(|| read(&memory, 21));
            assert_eq!(wanted(&pages), [21]);
            memory.discard(range).unwrap();
            assert_eq!(pages.left(), 2);
            pages.put(21, Some(&[1; PAGE])).unwrap();
            // Where the kernel tells of it again, zeros are put there.
            while !reader.is_finished() {
                assert!(pages.wanted().unwrap().is_empty());
                thread::yield_now();
            }
            assert_eq!(reader.join().unwrap(), [0; PAGE]);
        });
        pages.put(22, Some(&[1; PAGE])).unwrap();
        for page in [20, 23] {
            pages.put(page, Some(&[2; PAGE])).unwrap();
        }
        drop(pages);
        assert_eq!(read(&memory, 22), [0; PAGE]);
        assert_eq!(read(&memory, 23), [2; PAGE]);
    }
}

#[test]
fn neighbours_that_are_read_rather_than_mapped_do_not_fill_what_is_missing() {
    let Some(userfault) = userfault() else { return };
    // More runs than are mapped: the short ones are read, where a huge page would be made.
    let memory = GuestMemory::new(&[RamRange {
        base: Gpa(0),
        len: 1 << 27,
    }])
    .unwrap();
    let count = (1 << 27) / PAGE_SIZE;
    let mut missing = PageSet::new(count);
    let mut runs = Vec::new();
    for page in 0..count {
        match page % 2 {
            0 => runs.push((page, 1)),
            _ => missing.insert(page),
        }
    }
    let layers = [layer(&runs)];
    let pages = memory.map_layers_without(&layers, missing, userfault);
    let pages = pages.unwrap();
    pages.begin().unwrap();
    for page in (1..count).step_by(2) {
        pages.put(page, Some(&[0xee; PAGE])).unwrap();
    }
    let mut bytes = vec![0; PAGE];
    for page in 0..count {
        let from = GuestAddress(page * PAGE_SIZE);
        memory.ram().read_slice(&mut bytes, from).unwrap();
        let wanted = match page % 2 {
            0 => page.to_le_bytes()[0],
            _ => 0xee,
        };
        assert_eq!(bytes, [wanted; PAGE], "page {page}");
    }
}

#[test]
fn nobody_waits_once_there_is_nobody_who_has_pages_come() {
    let Some(userfault) = userfault() else { return };
    let memory = memory();
    let pages = memory
        .map_layers_without(&[], some([1]), userfault)
        .unwrap();
    pages.begin().unwrap();
    thread::scope(|scope| {
        let reader = scope.spawn(|| read(&memory, 1));
        assert_eq!(wanted(&pages), [1]);
        drop(pages);
        assert_eq!(reader.join().unwrap(), [0; PAGE]);
    });
}

#[test]
fn a_page_is_there_or_missing() {
    let Some(userfault) = userfault() else { return };
    let memory = memory();
    let layers = [layer(&[(0, 20)])];
    let pages = memory.map_layers_without(&layers, some([19]), userfault);
    assert!(matches!(pages, Err(LayerError::Runs)));
}
