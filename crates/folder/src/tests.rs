//! A folder, and a guest's kernel that is played here: what it may do, and what it may not.

mod guest;
mod hostile;
mod kept;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use rustix::io::Errno;

use guest::{Guest, ROOT, attribute, entry};

#[test]
fn files_are_made_written_and_read() {
    let mut guest = Guest::new();
    let (node, handle) = guest.create(ROOT, "a", 0o644).unwrap();
    assert_eq!(guest.write(handle, 0, b"hello").unwrap(), 5);
    assert_eq!(guest.write(handle, 5, b" world").unwrap(), 6);
    assert_eq!(guest.read(handle, 6, 100).unwrap(), b"world");
    assert_eq!(guest.read(handle, 100, 100).unwrap(), b"");
    guest.release(handle).unwrap();
    assert_eq!(guest.release(handle), Err(Errno::BADF));
    assert_eq!(fs::read(guest.path("a")).unwrap(), b"hello world");
    assert_eq!(
        fs::metadata(guest.path("a")).unwrap().mode() & 0o7777,
        0o644
    );
    assert_eq!(
        attribute(&guest.get_attributes(node).unwrap()[16..]).size,
        11
    );
    // It was there, and the guest did not ask for a new one.
    assert_eq!(guest.create(ROOT, "a", 0o644).unwrap().0, node);
}

#[test]
fn directories_and_names_are_made_moved_and_removed() {
    let mut guest = Guest::new();
    let d = guest.make_directory(ROOT, "d").unwrap();
    let e = guest.make_directory(d, "e").unwrap();
    let (f, _) = guest.create(e, "f", 0o600).unwrap();
    guest.rename(ROOT, "d", ROOT, "new").unwrap();
    // Their names lead elsewhere now, and they are found.
    assert_eq!(attribute(&guest.get_attributes(f).unwrap()[16..]).size, 0);
    assert!(guest.path("new/e/f").exists());
    guest.rename(e, "f", ROOT, "f").unwrap();
    assert_eq!(guest.lookup(ROOT, "f").unwrap(), f);
    assert_eq!(guest.remove_directory(ROOT, "new"), Err(Errno::NOTEMPTY));
    guest.remove_directory(d, "e").unwrap();
    guest.remove_directory(ROOT, "new").unwrap();
    guest.unlink(ROOT, "f").unwrap();
    assert_eq!(guest.lookup(ROOT, "f"), Err(Errno::NOENT));
    assert_eq!(guest.get_attributes(f).unwrap_err(), Errno::STALE);
    assert_eq!(fs::read_dir(guest.path("")).unwrap().count(), 0);
}

#[test]
fn links_are_themselves() {
    let mut guest = Guest::new();
    let link = guest.symlink(ROOT, "s", "/etc/passwd").unwrap();
    assert_eq!(guest.read_link(link).unwrap(), b"/etc/passwd");
    let (file, _) = guest.create(ROOT, "a", 0o644).unwrap();
    assert_eq!(guest.link(file, ROOT, "b").unwrap(), file);
    assert_eq!(fs::metadata(guest.path("b")).unwrap().nlink(), 2);
    guest.unlink(ROOT, "a").unwrap();
    // By its other name.
    assert_eq!(guest.lookup(ROOT, "b").unwrap(), file);
    assert_eq!(
        attribute(&guest.get_attributes(file).unwrap()[16..]).links,
        1
    );
}

#[test]
fn attributes_are_set() {
    let mut guest = Guest::new();
    let (node, handle) = guest.create(ROOT, "a", 0o644).unwrap();
    guest.write(handle, 0, &[1; 1000]).unwrap();
    guest.set_size(node, None, 10).unwrap();
    guest.set_size(node, Some(handle), 20).unwrap();
    guest.set_mode(node, 0o600).unwrap();
    guest.set_modified(node, 1_000_000, 5).unwrap();
    let found = fs::metadata(guest.path("a")).unwrap();
    assert_eq!((found.len(), found.mode() & 0o7777), (20, 0o600));
    assert_eq!((found.mtime(), found.mtime_nsec()), (1_000_000, 5));
    // The root itself as well.
    guest.set_modified(ROOT, 7, 0).unwrap();
    guest.set_mode(ROOT, 0o750).unwrap();
    assert_eq!(fs::metadata(guest.path("")).unwrap().mode() & 0o7777, 0o750);
}

#[test]
fn files_belong_to_whom_was_chosen() {
    let mut guest = Guest::owned_by(1000);
    let (node, _) = guest.create(ROOT, "a", 0o644).unwrap();
    let found = attribute(&guest.get_attributes(node).unwrap()[16..]);
    assert_eq!((found.user, found.group), (1000, 1000));
    guest.set_owner(node, 1000, 1000).unwrap();
    assert_eq!(guest.set_owner(node, 0, 0), Err(Errno::PERM));
}

#[test]
fn directories_are_read_in_pieces_with_what_is_in_them() {
    let mut guest = Guest::new();
    for number in 0..500 {
        fs::write(guest.path(&format!("file {number}")), vec![0; number]).unwrap();
    }
    let handle = guest.open_directory(ROOT).unwrap();
    for plus in [false, true] {
        let mut names = Vec::new();
        let mut offset = 0;
        loop {
            let entries = guest.read_directory(handle, offset, 4096, plus).unwrap();
            let Some(last) = entries.last() else { break };
            offset = last.offset;
            for entry in entries
                .iter()
                .filter(|entry| entry.name.starts_with("file"))
            {
                names.push(entry.name.clone());
                if let Some((node, size)) = entry.told {
                    assert_eq!(format!("file {size}"), entry.name);
                    assert_eq!(guest.lookup(ROOT, &entry.name).unwrap(), node);
                }
                assert_eq!(entry.told.is_some(), plus);
            }
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 500);
    }
}

#[test]
fn what_a_guest_forgets_costs_nothing_and_has_another_number_later() {
    let mut guest = Guest::new();
    fs::write(guest.path("a"), "").unwrap();
    let node = guest.lookup(ROOT, "a").unwrap();
    assert_eq!(guest.lookup(ROOT, "a").unwrap(), node);
    guest.forget(node, 1);
    assert!(guest.get_attributes(node).is_ok());
    guest.forget(node, 1);
    assert_eq!(guest.get_attributes(node).unwrap_err(), Errno::STALE);
    assert_eq!(guest.folder.nodes.count(), 0);
    assert_ne!(guest.lookup(ROOT, "a").unwrap(), node);
}

#[test]
fn a_folder_to_read_is_not_written() {
    let mut guest = Guest::read_only();
    fs::write(guest.path("a"), "text").unwrap();
    let node = guest.lookup(ROOT, "a").unwrap();
    let handle = guest.open(node, 0).unwrap();
    assert_eq!(guest.read(handle, 0, 10).unwrap(), b"text");
    let refused = Err(Errno::ROFS);
    assert_eq!(guest.open(node, 1), refused);
    assert_eq!(guest.open(node, 0o1000), refused, "to empty it");
    assert_eq!(guest.create(ROOT, "b", 0o644).map(drop), Err(Errno::ROFS));
    assert_eq!(guest.write(handle, 0, b"x").map(drop), Err(Errno::ROFS));
    assert_eq!(guest.make_directory(ROOT, "d"), refused);
    assert_eq!(guest.symlink(ROOT, "s", "a"), refused);
    assert_eq!(guest.link(node, ROOT, "b"), refused);
    assert_eq!(guest.unlink(ROOT, "a"), Err(Errno::ROFS));
    assert_eq!(guest.rename(ROOT, "a", ROOT, "b"), Err(Errno::ROFS));
    assert_eq!(guest.set_mode(node, 0o777), Err(Errno::ROFS));
    assert_eq!(fs::read(guest.path("a")).unwrap(), b"text");
}

#[test]
fn a_file_that_runs_as_its_owner_does_not_come_to_be() {
    let mut guest = Guest::new();
    let (node, _) = guest.create(ROOT, "a", 0o6755).unwrap();
    let mode = |guest: &Guest, name: &str| fs::metadata(guest.path(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode(&guest, "a"), 0o755);
    guest.set_mode(node, 0o7777).unwrap();
    assert_eq!(mode(&guest, "a") & 0o6000, 0);
    let made = guest.lookup(ROOT, "a").unwrap();
    assert_eq!(made, node);
    // One that was there is none any more once a guest may write to it.
    fs::write(guest.path("tool"), "").unwrap();
    fs::set_permissions(guest.path("tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    let tool = guest.lookup(ROOT, "tool").unwrap();
    guest.open(tool, 0).unwrap();
    assert_eq!(mode(&guest, "tool"), 0o4755);
    guest.open(tool, 1).unwrap();
    assert_eq!(mode(&guest, "tool"), 0o755);
}

#[test]
fn the_guests_kernel_learns_what_there_is() {
    let mut guest = Guest::new();
    let told = guest.init(7, 38, u32::MAX).unwrap();
    assert_eq!(told.len(), 64);
    assert_eq!(told[..8], [7, 0, 0, 0, 36, 0, 0, 0]);
    // A newer one is told our version, and asks again; an older one cannot be served.
    assert_eq!(guest.init(8, 0, 0).unwrap().len(), 8);
    assert_eq!(guest.init(7, 20, 0).unwrap_err(), Errno::PROTO);
    let told = entry(
        &guest
            .call(1, ROOT, b"nothing\0")
            .unwrap_err()
            .raw_os_error()
            .to_le_bytes(),
    );
    assert!(told.is_none());
}
