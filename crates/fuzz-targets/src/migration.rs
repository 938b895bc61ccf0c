//! Sources of migrations that say anything, and targets.

use std::fs::File;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ::migration::{Bounds, Hello, Kind, PageServer, Receiver, Sender, Way, frame, late_pages};
use memory::{Gpa, GuestMemory, PAGE_SIZE, PageSet, RamRange};
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
        post_copy: true,
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
        let missing = received.missing.unwrap_or_default();
        assert!(missing.next(received.all).is_none());
        for run in received.runs {
            assert!(run.count > 0 && run.first >= next && run.first + run.count <= received.all);
            next = run.first + run.count;
            assert!(missing.next(run.first).is_none_or(|page| page >= next));
        }
    }
    // Nobody makes a file longer than was agreed upon.
    assert!(memory.metadata().expect("a file").len() <= PAGES * 4096);
    assert_eq!(kept.metadata().expect("a file").len(), DISK);
}

/// A target that has the guest already, on a first connection and on another one.
pub(crate) fn serve(bytes: &[u8]) {
    let (ours, mut theirs) = UnixStream::pair().expect("sockets");
    let len = PAGES * PAGE_SIZE;
    let memory = GuestMemory::new(&[RamRange { base: Gpa(0), len }]).expect("memory");
    let mut sender = Sender::begin(ours, memory, vec![], Way::default()).expect("room");
    let said = &bytes[..bytes.len().min(1 << 16)];
    theirs.write_all(said).expect("room for so many bytes");
    theirs.shutdown(Shutdown::Write).expect("a socket");
    // Whoever reads nothing is not waited for.
    sender.to().set_nonblocking(true).expect("a socket");
    let mut all = PageSet::new(PAGES);
    (0..PAGES).for_each(|page| all.insert(page));
    let mut server = PageServer::new(all);
    let patience = Duration::from_secs(10);
    let runs = server.until(Kind::Running, &mut sender, patience);
    if runs.is_err() {
        server.begin_anew();
    }
    let _ = server.send_all(&mut sender, patience, |server, _| {
        assert!(server.left() <= PAGES);
    });
}

/// What comes late: pages within the guest's memory, with as many bytes as they have.
pub(crate) fn late(bytes: &[u8]) {
    let mut room = Vec::new();
    if let Ok(pages) = late_pages(bytes, PAGES, &mut room) {
        let full = pages.iter().filter_map(|(_, at)| *at);
        assert!(full.clone().eq((0..).step_by(4096).take(full.count())));
        assert!(pages.iter().all(|(page, at)| {
            *page < PAGES && at.is_none_or(|at| room.get(at..at + 4096).is_some())
        }));
    }
}

fn numbers(of: &[u64]) -> Vec<u8> {
    of.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// One that takes what is sent.
pub(crate) fn seeds_of_targets() -> Vec<Vec<u8>> {
    let mut line = Vec::new();
    let mut say = |kind, body: &[u8]| frame::write(&mut line, kind, body).expect("memory");
    say(Kind::Wanted, &numbers(&[5, 63]));
    say(Kind::Taken, &[]);
    say(Kind::Running, &[]);
    say(Kind::Taken, &[]);
    say(Kind::Wanted, &numbers(&[7]));
    say(Kind::Complete, &[]);
    let mut other = Vec::new();
    let mut say = |kind, body: &[u8]| frame::write(&mut other, kind, body).expect("memory");
    say(Kind::Ready, &[]);
    say(Kind::Missing, &numbers(&[3, 9, 63, 1]));
    say(Kind::Running, &[]);
    vec![line, other]
}

pub(crate) fn seeds_of_late_pages() -> Vec<Vec<u8>> {
    let words = numbers(&[1 << 62 | 3, 4, 1 << 62 | 63]);
    vec![[&3u32.to_le_bytes()[..], &words, &[0; 4], &[7; 2 * 4096]].concat()]
}

/// One that is whole, and one of which a part comes late.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut line = Vec::new();
    let mut say = |kind, body: &[u8]| frame::write(&mut line, kind, body).expect("memory");
    let hello = Hello {
        pages: PAGES,
        disks: vec![DISK],
        post_copy: false,
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
    let mut late = Vec::new();
    let mut say = |kind, body: &[u8]| frame::write(&mut late, kind, body).expect("memory");
    let hello = Hello {
        post_copy: true,
        ..hello
    };
    say(Kind::Hello, &hello.encode());
    say(Kind::Pages, &pages);
    say(Kind::Missing, &numbers(&[4, 1, 60, 4]));
    say(Kind::End, &[]);
    vec![line, late]
}
