//! Sources of migrations that say anything.

use std::fs::File;

use ::migration::{Bounds, Hello, Kind, Receiver, frame};
use rustix::fs::{MemfdFlags, memfd_create};

const PAGES: u64 = 64;
const DISK: u64 = (2 << 16) + 512;

fn file(len: u64) -> File {
    let file = File::from(memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("a file"));
    file.set_len(len).expect("room");
    file
}

pub(crate) fn receive(bytes: &[u8]) {
    let bounds = Bounds {
        pages: PAGES,
        disks: vec![DISK],
        state: 1 << 16,
        about: 1 << 12,
    };
    let (pages, disk) = (file(0), file(DISK));
    let (memory, kept) = (
        pages.try_clone().expect("a descriptor"),
        disk.try_clone().expect("a descriptor"),
    );
    let receiver = Receiver::new(bounds, pages, vec![disk]);
    let mut from = bytes;
    if let Ok(received) = receiver.receive(&mut from, |_| {}) {
        assert!(received.state.len() <= 1 << 16 && received.about.len() <= 1 << 12);
        let mut next = 0;
        for run in received.runs {
            assert!(run.count > 0 && run.first >= next && run.first + run.count <= received.all);
            next = run.first + run.count;
        }
    }
    // Nobody makes a file longer than was agreed upon.
    assert!(memory.metadata().expect("a file").len() <= PAGES * 4096);
    assert_eq!(kept.metadata().expect("a file").len(), DISK);
}

/// One that is whole.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut line = Vec::new();
    let mut say = |kind, body: &[u8]| frame::write(&mut line, kind, body).expect("memory");
    let hello = Hello {
        pages: PAGES,
        disks: vec![DISK],
    };
    say(Kind::Hello, &hello.encode());
    let page = |how: u64, number: u64| (how << 62 | number).to_le_bytes();
    let mut pages = 5u32.to_le_bytes().to_vec();
    pages.extend([page(1, 3), page(2, 4), page(0, 3), page(0, 3), page(0, 5)].concat());
    pages.extend(0u32.to_le_bytes());
    pages.extend([7; 4096]);
    say(Kind::Pages, &pages);
    let mut chunk = [0u32, 512].map(u32::to_le_bytes).concat();
    chunk.extend((2u64 << 16).to_le_bytes());
    chunk.extend(0u32.to_le_bytes());
    chunk.extend([7; 512]);
    say(Kind::Disk, &chunk);
    say(Kind::Round, &[]);
    let part = [&5u32.to_le_bytes()[..], &[0; 4], b"state"].concat();
    say(Kind::State, &part);
    say(Kind::About, &part);
    say(Kind::End, &[]);
    vec![line]
}
