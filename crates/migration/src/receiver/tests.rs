use std::fs::File;

use super::*;

/// Pages of the guest that comes.
const PAGES: u64 = 600;

fn file() -> File {
    let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC);
    File::from(fd.unwrap())
}

fn receiver(disks: &[u64]) -> Receiver {
    receiver_of(disks, false)
}

fn receiver_of(disks: &[u64], post_copy: bool) -> Receiver {
    let bounds = Bounds {
        pages: PAGES,
        disks: disks.to_vec(),
        state: 1000,
        about: 1000,
        post_copy,
    };
    let files = disks.iter().map(|len| {
        let file = file();
        file.set_len(*len).unwrap();
        file
    });
    Receiver::new(bounds, file(), files.collect())
}

fn hello(pages: u64, disks: &[u64]) -> Vec<u8> {
    let hello = Hello {
        pages,
        disks: disks.to_vec(),
        post_copy: false,
    };
    let mut line = Vec::new();
    frame::write(&mut line, Kind::Hello, &hello.encode()).unwrap();
    line
}

fn pages(words: &[u64], data: Option<&[u8]>) -> Vec<u8> {
    let mut body = u32::try_from(words.len()).unwrap().to_le_bytes().to_vec();
    body.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    if let Some(data) = data {
        body.extend(0u32.to_le_bytes());
        body.extend(data);
    }
    body
}

fn refused(line: &[u8]) -> String {
    let found = receiver(&[]).receive(&mut &line[..], |_| {});
    found.unwrap_err().to_string()
}

fn framed(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut line = hello(PAGES, &[]);
    frame::write(&mut line, kind, body).unwrap();
    line
}

#[test]
fn a_page_is_like_what_another_one_was_before_that_is_sent_anew() {
    let (one, two) = ([1; PAGE], [2; PAGE]);
    let mut line = hello(PAGES, &[]);
    let first = pages(&[5 | DATA << HOW], Some(&one));
    frame::write(&mut line, Kind::Pages, &first).unwrap();
    let words = [3 | LIKE << HOW, 5, 5 | DATA << HOW, 6 | LIKE << HOW, 5];
    frame::write(&mut line, Kind::Pages, &pages(&words, Some(&two))).unwrap();
    frame::write(&mut line, Kind::End, &[]).unwrap();
    let found = receiver(&[]).receive(&mut &line[..], |_| {}).unwrap();
    let mut bytes = [0; PAGE];
    for (page, wanted) in [(3, &one), (5, &two), (6, &two)] {
        found
            .pages
            .read_exact_at(&mut bytes, page * PAGE_SIZE)
            .unwrap();
        assert_eq!(&bytes, wanted);
    }
    assert_eq!((found.runs[0].first, found.runs[0].count), (3, 4));
    assert_eq!(found.all, PAGES);
}

#[test]
fn what_is_beyond_what_was_agreed_upon_is_refused() {
    let data = [1; PAGE];
    assert!(refused(&hello(PAGES + 1, &[])).contains("another guest"));
    assert!(refused(&hello(PAGES, &[512])).contains("another guest"));
    let beyond = pages(&[PAGES | DATA << HOW], Some(&data));
    assert!(refused(&framed(Kind::Pages, &beyond)).contains("beyond"));
    let like = pages(&[1 | LIKE << HOW, PAGES], None);
    assert!(refused(&framed(Kind::Pages, &like)).contains("beyond"));
    let alone = pages(&[1 | LIKE << HOW], None);
    assert!(refused(&framed(Kind::Pages, &alone)).contains("like none"));
    let short = pages(&[1 | DATA << HOW, 2 | DATA << HOW], Some(&data));
    assert!(refused(&framed(Kind::Pages, &short)).contains("damaged"));
    let more = pages(&[1], Some(&data));
    assert!(refused(&framed(Kind::Pages, &more)).contains("data"));
    let unknown = pages(&[1 | 3 << HOW], None);
    assert!(refused(&framed(Kind::Pages, &unknown)).contains("unknown"));
    let many = pages(&[1; MOST_NUMBERS + 1], None);
    assert!(refused(&framed(Kind::Pages, &many)).contains("too many"));
    let state = [&2000u32.to_le_bytes()[..], &[0; 4], &[7; 2000]].concat();
    assert!(refused(&framed(Kind::State, &state)).contains("more state"));
    assert!(refused(&framed(Kind::Go, &[])).contains("later"));
    let chunk = [0; 16];
    assert!(refused(&framed(Kind::Disk, &chunk)).contains("not agreed"));
}

#[test]
fn a_chunk_lies_in_its_disk() {
    let size = 3 * CHUNK + 512;
    let chunk = |len: u64, offset: u64| {
        let mut body = 0u32.to_le_bytes().to_vec();
        body.extend(u32::try_from(len).unwrap().to_le_bytes());
        body.extend(offset.to_le_bytes());
        body
    };
    for (len, offset, fits) in [
        (512, 3 * CHUNK, true),
        (513, 3 * CHUNK, false),
        (CHUNK, 512, false),
        (CHUNK + 1, 0, false),
        (0, 0, false),
        (512, u64::MAX - 511, false),
    ] {
        let mut line = hello(PAGES, &[size]);
        let mut body = chunk(len, offset);
        body.extend(0u32.to_le_bytes());
        body.extend(vec![7; usize::try_from(len).unwrap()]);
        frame::write(&mut line, Kind::Disk, &body).unwrap();
        frame::write(&mut line, Kind::Round, &[]).unwrap();
        frame::write(&mut line, Kind::Disk, &chunk(512, 3 * CHUNK)).unwrap();
        frame::write(&mut line, Kind::End, &[]).unwrap();
        let receiver = receiver(&[size]);
        let disk = receiver.disks[0].try_clone().unwrap();
        assert_eq!(receiver.receive(&mut &line[..], |_| {}).is_ok(), fits);
        assert_eq!(disk.metadata().unwrap().len(), size);
    }
}

/// A source of a guest that may begin before all has come.
fn late(frames: &[(Kind, Vec<u8>)]) -> Vec<u8> {
    let hello = Hello {
        pages: PAGES,
        disks: vec![],
        post_copy: true,
    };
    let mut line = Vec::new();
    frame::write(&mut line, Kind::Hello, &hello.encode()).unwrap();
    for (kind, body) in frames {
        frame::write(&mut line, *kind, body).unwrap();
    }
    line
}

fn run_of(first: u64, count: u64) -> Vec<u8> {
    [first.to_le_bytes(), count.to_le_bytes()].concat()
}

#[test]
fn what_is_missing_is_in_no_run() {
    let one = [1; PAGE];
    let words: Vec<u64> = [10, 12, 14, 16].map(|page| page | DATA << HOW).to_vec();
    let line = late(&[
        (Kind::Pages, pages(&words, Some(&one.repeat(4)))),
        // One that came, and one that never was.
        (Kind::Missing, [run_of(12, 1), run_of(15, 1)].concat()),
        (Kind::Missing, run_of(300, 2)),
        (Kind::End, vec![]),
    ]);
    let receiver = receiver_of(&[], true);
    let found = receiver.receive(&mut &line[..], |_| {}).unwrap();
    let runs: Vec<(u64, u64)> = found
        .runs
        .iter()
        .map(|run| (run.first, run.count))
        .collect();
    assert_eq!(runs, [(10, 1), (14, 1), (16, 1)]);
    let missing = found.missing.unwrap();
    assert_eq!(missing.runs(), [12..13, 15..16, 300..302]);
}

#[test]
fn pages_come_late_only_where_that_was_agreed_upon() {
    let refused = |line: &[u8], post_copy| {
        let found = receiver_of(&[], post_copy).receive(&mut &line[..], |_| {});
        found.unwrap_err().to_string()
    };
    assert!(refused(&late(&[]), false).contains("another guest"));
    let mut line = hello(PAGES, &[]);
    frame::write(&mut line, Kind::Missing, &run_of(0, 1)).unwrap();
    assert!(refused(&line, true).contains("for later"));
    for run in [run_of(PAGES, 1), run_of(1, PAGES), run_of(1, u64::MAX)] {
        assert!(refused(&late(&[(Kind::Missing, run)]), true).contains("beyond"));
    }
    let half = run_of(0, 1)[..9].to_vec();
    assert!(refused(&late(&[(Kind::Missing, half)]), true).contains("too soon"));
    let many = run_of(0, 1).repeat(5000);
    assert!(refused(&late(&[(Kind::Missing, many)]), true).contains("too many"));
    let page = pages(&[1 | DATA << HOW], Some(&[1; PAGE]));
    let after = late(&[(Kind::Missing, run_of(0, 1)), (Kind::Pages, page)]);
    assert!(refused(&after, true).contains("for later"));
}
