//! What a guest may try.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::io::Errno;

use super::guest::{Guest, ROOT};
use crate::files::MOST;

#[test]
fn no_name_leads_out() {
    let mut guest = Guest::new();
    for name in ["..", ".", "", "../secret", "/etc/passwd", "a/b"] {
        assert_eq!(guest.lookup(ROOT, name), Err(Errno::INVAL), "{name:?}");
        assert_eq!(
            guest.create(ROOT, name, 0o644).map(drop),
            Err(Errno::INVAL),
            "{name:?}"
        );
        assert_eq!(
            guest.make_directory(ROOT, name),
            Err(Errno::INVAL),
            "{name:?}"
        );
        assert_eq!(guest.unlink(ROOT, name), Err(Errno::INVAL), "{name:?}");
        assert_eq!(
            guest.rename(ROOT, name, ROOT, "x"),
            Err(Errno::INVAL),
            "{name:?}"
        );
        assert_eq!(
            guest.rename(ROOT, "x", ROOT, name),
            Err(Errno::INVAL),
            "{name:?}"
        );
    }
    assert_eq!(
        guest.lookup(ROOT, &"x".repeat(256)),
        Err(Errno::NAMETOOLONG)
    );
    assert_eq!(guest.call(1, ROOT, b"no end"), Err(Errno::INVAL));
}

#[test]
fn no_link_leads_out() {
    let mut guest = Guest::new();
    let target = guest.outside("");
    let link = guest
        .symlink(ROOT, "out", target.to_str().unwrap())
        .unwrap();
    for flags in 0..3 {
        assert!(guest.open(link, flags).is_err());
    }
    assert_eq!(guest.lookup(link, "secret"), Err(Errno::NOTDIR));
    assert!(guest.open_directory(link).is_err());
    assert!(guest.create(link, "made", 0o644).is_err());
    assert!(guest.set_mode(link, 0o777).is_err());
    // To where the link leads, nothing is ever done; the link has times of its own.
    let before = fs::metadata(&target).unwrap().modified().unwrap();
    guest.set_modified(link, 1, 0).unwrap();
    assert_eq!(fs::metadata(&target).unwrap().modified().unwrap(), before);
    assert!(guest.set_size(link, None, 0).is_err());
    assert_eq!(fs::read(guest.outside("secret")).unwrap(), b"secret");
}

#[test]
fn what_is_replaced_by_a_link_is_stale() {
    let mut guest = Guest::new();
    fs::create_dir(guest.path("d")).unwrap();
    fs::write(guest.path("d/secret"), "ours").unwrap();
    let d = guest.lookup(ROOT, "d").unwrap();
    let file = guest.lookup(d, "secret").unwrap();
    fs::rename(guest.path("d"), guest.path("moved")).unwrap();
    symlink(guest.outside(""), guest.path("d")).unwrap();
    assert!(guest.open(file, 0).is_err());
    assert!(guest.lookup(d, "secret").is_err());
    assert!(guest.create(d, "made", 0o644).is_err());
    assert!(!guest.outside("made").exists());
    // And by another directory, of that name and with such a file.
    fs::remove_file(guest.path("d")).unwrap();
    fs::create_dir(guest.path("d")).unwrap();
    fs::write(guest.path("d/secret"), "another").unwrap();
    assert_eq!(guest.open(file, 0), Err(Errno::STALE));
    // Looked up again, it is found where it is now.
    let moved = guest.lookup(ROOT, "moved").unwrap();
    assert_eq!(moved, d);
    let handle = guest.open(file, 0).unwrap();
    assert_eq!(guest.read(handle, 0, 100).unwrap(), b"ours");
}

#[test]
fn nothing_special_is_made_or_opened() {
    let mut guest = Guest::new();
    for mode in [
        0o020_666, 0o060_666, 0o010_666, 0o140_666, 0o040_777, 0o120_777, 0,
    ] {
        assert_eq!(
            guest.make_node(ROOT, "n", mode),
            Err(Errno::PERM),
            "{mode:o}"
        );
    }
    guest.make_node(ROOT, "file", 0o100_644).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        guest.path("fifo"),
        rustix::fs::FileType::Fifo,
        0o666.into(),
        0,
    )
    .unwrap();
    let fifo = guest.lookup(ROOT, "fifo").unwrap();
    // Nobody is at its other end: whoever opened it would wait.
    assert_eq!(guest.open(fifo, 0), Err(Errno::PERM));
    assert_eq!(
        guest.create(ROOT, "fifo", 0o644).map(drop),
        Err(Errno::PERM)
    );
}

#[test]
fn open_files_have_an_end() {
    let mut guest = Guest::new();
    let (node, _) = guest.create(ROOT, "a", 0o644).unwrap();
    for _ in 1..MOST {
        guest.open(node, 0).unwrap();
    }
    assert_eq!(guest.open(node, 0), Err(Errno::NFILE));
    assert_eq!(guest.open_directory(ROOT), Err(Errno::NFILE));
    assert_eq!(guest.create(ROOT, "b", 0o644).map(drop), Err(Errno::NFILE));
    assert!(!guest.path("b").exists());
    guest.call(38, 0, &[]).unwrap();
    guest.open(ROOT, 0).unwrap_err();
    guest.open_directory(ROOT).unwrap();
}

#[test]
fn answers_fit_whatever_room_there_is() {
    let mut guest = Guest::new();
    let (_, handle) = guest.create(ROOT, "a", 0o644).unwrap();
    guest.write(handle, 0, &[7; 1000]).unwrap();
    for room in [16, 17, 100, 1 << 16] {
        guest.room = room;
        let read = guest.read(handle, 0, u32::MAX).unwrap();
        assert_eq!(read, vec![7; 1000.min(room - 16)]);
    }
    guest.room = 50;
    assert_eq!(guest.lookup(ROOT, "a"), Err(Errno::INVAL));
    for room in 0..16 {
        guest.room = room;
        assert_eq!(
            guest.call(3, ROOT, &[0; 16]),
            Ok(Vec::new()),
            "nothing can be said"
        );
    }
}

#[test]
fn counts_and_lengths_that_lie_end_with_their_request() {
    let mut guest = Guest::new();
    let mut many = u32::MAX.to_le_bytes().to_vec();
    many.extend([0; 4 + 16]);
    assert_eq!(guest.call(42, 0, &many), Ok(Vec::new()));
    let (_, handle) = guest.create(ROOT, "a", 0o644).unwrap();
    let mut write = handle.to_le_bytes().to_vec();
    write.extend([0; 8]);
    write.extend(u32::MAX.to_le_bytes());
    write.extend([0; 20]);
    assert_eq!(guest.call(16, 0, &write), Err(Errno::INVAL));
    // A request that says that it is longer than it is, or that is none.
    let mut answer = Vec::new();
    for request in [&[0; 0][..], &[1; 8], &[0; 40], &[0xff; 100]] {
        guest.folder.answer(request, 100, &mut answer);
        assert_eq!(answer.len(), 16);
        assert_ne!(answer[4..8], [0; 4]);
    }
    for opcode in 0..100 {
        let _ = guest.call(opcode, u64::MAX, &[0xff; 88]);
        let _ = guest.call(opcode, ROOT, &[]);
    }
}

#[test]
fn directories_that_were_told_of_in_a_circle_have_no_place() {
    let mut guest = Guest::new();
    let a = guest.make_directory(ROOT, "a").unwrap();
    let b = guest.make_directory(a, "b").unwrap();
    // At the host, b comes out and a goes into it; the guest looks again while it still knows the old.
    fs::rename(guest.path("a/b"), guest.path("b")).unwrap();
    fs::rename(guest.path("a"), guest.path("b/a")).unwrap();
    assert_eq!(guest.lookup(b, "a").unwrap_err(), Errno::STALE);
    assert_eq!(guest.lookup(ROOT, "b").unwrap(), b);
    assert_eq!(guest.lookup(b, "a").unwrap(), a);
    assert!(guest.get_attributes(a).is_ok());
}
