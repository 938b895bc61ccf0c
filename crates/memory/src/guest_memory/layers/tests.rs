use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::{Bytes, GuestAddress};

use super::{Layer, LayerError, MOST_PIECES, Run, shortest_mapped};
use crate::{Gpa, GuestMemory, PAGE_SIZE, RamRange};

const HIGH: u64 = 0x1_0000_0000;

/// Pages 0 to 7 below, 8 to 11 above 4 GiB.
fn memory() -> GuestMemory {
    let range = |base, pages| RamRange {
        base: Gpa(base),
        len: pages * PAGE_SIZE,
    };
    GuestMemory::new(&[range(0, 8), range(HIGH, 4)]).expect("memory")
}

/// Each page of the file begins with `mark` and its number.
fn file(mark: u8, pages: u64) -> Arc<File> {
    let file = File::from(memfd_create("layer", MemfdFlags::CLOEXEC).expect("a file"));
    file.set_len(pages * PAGE_SIZE).expect("room");
    for page in 0..pages {
        let number = u8::try_from(page).expect("few");
        file.write_all_at(&[mark, number], page * PAGE_SIZE)
            .expect("room");
    }
    Arc::new(file)
}

fn run(first: u64, count: u64) -> Run {
    Run::in_place(first, count)
}

fn zeros(first: u64, count: u64) -> Run {
    Run {
        zero: true,
        ..run(first, count)
    }
}

fn found(memory: &GuestMemory) -> Vec<(u8, u8)> {
    let low = (0..8).map(|page| page * PAGE_SIZE);
    let high = (0..4).map(|page| HIGH + page * PAGE_SIZE);
    let read = |at| {
        memory
            .ram()
            .read_obj::<[u8; 2]>(GuestAddress(at))
            .expect("inside")
    };
    low.chain(high)
        .map(read)
        .map(|[mark, page]| (mark, page))
        .collect()
}

#[test]
fn upper_layers_hide_lower_ones_and_a_run_may_cross_ranges() {
    let memory = memory();
    let below = Layer {
        file: file(1, 12),
        runs: vec![run(1, 2), run(6, 5)],
    };
    let above = Layer {
        file: file(2, 12),
        runs: vec![run(0, 1), zeros(2, 1), run(7, 2)],
    };
    memory.map_layers(&[below, above]).expect("they fit");
    let (none, one, two) = ((0, 0), |page| (1, page), |page| (2, page));
    let expected = [
        two(0),
        one(1),
        none,
        none,
        none,
        none,
        one(6),
        two(7),
        two(8),
        one(9),
        one(10),
        none,
    ];
    assert_eq!(found(&memory), expected);
}

#[test]
fn writes_stay_in_this_memory_and_given_pages_are_zero() {
    let (first, second) = (memory(), memory());
    let layer = Layer {
        file: file(1, 12),
        runs: vec![run(0, 12)],
    };
    for memory in [&first, &second] {
        memory
            .map_layers(std::slice::from_ref(&layer))
            .expect("it fits");
    }
    first.ram().write_obj(9u8, GuestAddress(0)).expect("inside");
    let range = RamRange {
        base: Gpa(PAGE_SIZE),
        len: PAGE_SIZE,
    };
    assert_eq!(first.discard(range).expect("it is RAM"), PAGE_SIZE);
    assert_eq!(found(&first)[..3], [(9, 0), (0, 0), (1, 2)]);
    assert_eq!(found(&second)[..3], [(1, 0), (1, 1), (1, 2)]);
    // Also where there are as many mappings as there may be.
    first
        .pieces
        .store(MOST_PIECES, std::sync::atomic::Ordering::Relaxed);
    let range = RamRange {
        base: Gpa(2 * PAGE_SIZE),
        len: 2 * PAGE_SIZE,
    };
    first.discard(range).expect("it is RAM");
    assert_eq!(found(&first)[2..5], [(0, 0), (0, 0), (1, 4)]);
}

#[test]
fn runs_that_make_no_sense_and_short_files_are_refused() {
    let layer = |runs, pages| Layer {
        file: file(1, pages),
        runs,
    };
    for runs in [
        vec![run(0, 0)],
        vec![run(11, 2)],
        vec![run(u64::MAX, 1)],
        vec![run(1, u64::MAX)],
        vec![run(2, 2), run(3, 1)],
        vec![run(5, 1), run(1, 1)],
    ] {
        let refused = memory().map_layers(&[layer(runs.clone(), 12)]);
        assert!(matches!(refused, Err(LayerError::Runs)), "{runs:?}");
    }
    let short = memory().map_layers(&[layer(vec![run(0, 12)], 11)]);
    assert!(matches!(short, Err(LayerError::Short)));
    assert!(memory().map_layers(&[layer(vec![zeros(11, 1)], 1)]).is_ok());
}

#[test]
fn of_too_many_runs_the_longest_are_mapped() {
    let runs = [run(0, 5), run(6, 1), run(8, 3), run(12, 1)];
    assert_eq!(shortest_mapped(runs.iter(), 4), 0);
    let mapped = |most| {
        let shortest = shortest_mapped(runs.iter(), most);
        runs.iter().filter(|run| run.count >= shortest).count()
    };
    assert_eq!((mapped(3), mapped(2), mapped(1), mapped(0)), (2, 2, 1, 0));
}

#[test]
fn a_run_that_is_read_is_as_one_that_is_mapped() {
    let memory = memory();
    let layer = Layer {
        file: file(1, 12),
        runs: vec![],
    };
    assert_eq!(memory.place(&layer, run(7, 3), false).expect("it fits"), 0);
    assert_eq!(
        found(&memory)[6..11],
        [(0, 0), (1, 7), (1, 8), (1, 9), (0, 0)]
    );
}
