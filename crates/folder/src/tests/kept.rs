//! A folder whose guest is saved and goes on later.

use std::fs;

use rustix::io::Errno;

use super::guest::{Guest, ROOT};

#[test]
fn what_was_known_and_open_still_is() {
    let mut guest = Guest::new();
    let d = guest.make_directory(ROOT, "d").unwrap();
    let (file, handle) = guest.create(d, "f", 0o644).unwrap();
    guest.write(handle, 0, b"before").unwrap();
    let directory = guest.open_directory(d).unwrap();
    let state = guest.folder.save();
    guest.restored(&state).unwrap();
    assert_eq!(guest.folder.save(), state);
    assert_eq!(guest.read(handle, 0, 100).unwrap(), b"before");
    guest.write(handle, 0, b"behind").unwrap();
    assert_eq!(guest.lookup(d, "f").unwrap(), file);
    guest.release(directory).unwrap();
    // Numbers are not given twice.
    assert!(guest.open(file, 0).unwrap() > directory);
}

#[test]
fn what_has_gone_meanwhile_is_closed() {
    let mut guest = Guest::new();
    let (file, handle) = guest.create(ROOT, "f", 0o644).unwrap();
    let state = guest.folder.save();
    fs::remove_file(guest.path("f")).unwrap();
    fs::write(guest.path("f"), "another").unwrap();
    guest.restored(&state).unwrap();
    assert_eq!(guest.read(handle, 0, 1), Err(Errno::BADF));
    assert_eq!(guest.get_attributes(file).unwrap_err(), Errno::STALE);
}

#[test]
fn what_makes_no_sense_changes_nothing() {
    let mut guest = Guest::new();
    guest.create(ROOT, "f", 0o644).unwrap();
    let state = guest.folder.save();
    for len in 0..state.len() {
        assert!(guest.restored(&state[..len]).is_err());
    }
    let name = state.iter().position(|byte| *byte == b'f').unwrap();
    let mut out = state.clone();
    out[name] = b'/';
    assert!(guest.folder.restore(&out).is_err());
    assert_eq!(guest.folder.save(), state);
}
