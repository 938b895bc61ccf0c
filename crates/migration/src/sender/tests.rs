use std::fs::File;
use std::os::unix::fs::FileExt;

use memory::Gpa;

use super::*;
use crate::{Bounds, Receiver};

fn guest() -> GuestMemory {
    let ranges = [
        RamRange {
            base: Gpa(0),
            len: 40 * PAGE_SIZE,
        },
        RamRange {
            base: Gpa(1 << 32),
            len: 500 * PAGE_SIZE,
        },
    ];
    GuestMemory::new(&ranges).unwrap()
}

fn file() -> File {
    let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC);
    File::from(fd.unwrap())
}

/// A generator of numbers that are always the same.
fn numbers(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 33
    }
}

/// Writes pages at random: of zeros, of one of a few, of noise.
fn scribble(memory: &GuestMemory, next: &mut impl FnMut() -> u64, count: usize) {
    for _ in 0..count {
        let place = next() % 540;
        let at = match place {
            0..40 => place * PAGE_SIZE,
            _ => (1 << 32) + (place - 40) * PAGE_SIZE,
        };
        let page: Vec<u8> = match next() % 4 {
            0 => vec![0; PAGE],
            1 | 2 => vec![u8::try_from(next() % 3 + 1).unwrap(); PAGE],
            _ => (0..PAGE).map(|_| next().to_le_bytes()[0]).collect(),
        };
        memory.write_own(Gpa(at), &page).unwrap();
    }
}

#[test]
fn the_target_has_in_the_end_what_the_source_had() {
    for seed in 0..8 {
        let memory = guest();
        let mut next = numbers(seed);
        scribble(&memory, &mut next, 300);
        let mut line = Vec::new();
        let way = Way {
            compress: seed % 2 == 0,
            post_copy: false,
        };
        let mut sender = Sender::begin(&mut line, memory.clone(), vec![], way).unwrap();
        memory.set_dirty_log(true);
        let mut ranges = memory.mapped_ranges();
        for _ in 0..5 {
            for range in &ranges {
                sender.pages(*range).unwrap();
            }
            sender.flush_pages().unwrap();
            scribble(&memory, &mut next, 100);
            ranges = memory.take_dirty_ranges();
        }
        for range in &ranges {
            sender.pages(*range).unwrap();
        }
        sender.flush_pages().unwrap();
        sender.parts(Kind::State, &[7; 5000]).unwrap();
        sender.frame(Kind::End, &[]).unwrap();
        let sent = sender.sent();
        assert!(sent.zero > 0 && sent.like > 0 && sent.same > 0 && sent.data > 0);

        let bounds = Bounds {
            pages: 540,
            disks: vec![],
            state: 5000,
            about: 0,
            post_copy: false,
        };
        let receiver = Receiver::new(bounds, file(), vec![]);
        let found = receiver.receive(&mut &line[..], |_| {}).unwrap();
        assert_eq!(found.state, [7; 5000]);
        let (mut wanted, mut page) = ([0; PAGE], [0; PAGE]);
        for number in 0..540 {
            let at = if number < 40 {
                number * PAGE_SIZE
            } else {
                (1 << 32) + (number - 40) * PAGE_SIZE
            };
            memory.read_own(Gpa(at), &mut wanted).unwrap();
            found
                .pages
                .read_exact_at(&mut page, number * PAGE_SIZE)
                .unwrap();
            assert_eq!(page, wanted, "page {number} of guest {seed}");
            let named = found
                .runs
                .iter()
                .any(|run| (run.first..run.first + run.count).contains(&number));
            assert!(named || page == [0; PAGE]);
        }
    }
}
