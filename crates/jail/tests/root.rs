//! The root directory, the user and the namespaces of a guest's process. Where the host does not give
//! them, [`jail::Walls::missing`] says so, and these say that they were skipped.

mod play;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use jail::{Needs, User, Walls, enter, separate};
use play::{NOBODY, OWN_USER, jailed_with, own, played, played_and_seen, refused};
use rustix::fs::{CWD, Mode, OFlags, openat};

fn has_root(walls: &Walls) -> bool {
    if !walls.root {
        println!("skipped: {}", walls.missing.join("; "));
    }
    walls.root
}

/// All files that can be seen from the root, without what is in `own`.
fn seen(from: &Path, own: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let path = entry.path();
        if path != own && entry.file_type().unwrap().is_dir() {
            found.extend(seen(&path, own));
        }
        found.insert(path);
    }
    found
}

#[test]
fn there_is_nothing_but_what_is_needed() {
    let name = "there_is_nothing_but_what_is_needed";
    jailed_with(name, own, |directory, walls| {
        if has_root(walls) {
            // Landlock has nothing against stat(2), by which a file that is there is found.
            for path in ["/etc/passwd", "/proc/self", "/usr", "/dev", "/sys"] {
                assert!(!Path::new(path).exists(), "{path}");
            }
            assert!(!directory.parent().unwrap().join("other").exists());
            fs::write(directory.join("x"), "x").unwrap();
        }
    });
}

#[test]
fn without_landlock_it_is_the_same() {
    // What is played here has a root of its own, and neither Landlock nor a filter.
    let name = "without_landlock_it_is_the_same";
    played(name, |directory| {
        let other = directory.parent().unwrap().join("other");
        let inside = File::open(&other).unwrap();
        let needs = Needs {
            read: vec!["/proc/self".into()],
            ..own(directory)
        };
        let walls = separate(&needs).unwrap();
        if !has_root(&walls) {
            return;
        }
        let expected: BTreeSet<PathBuf> = directory.ancestors().map(Path::to_owned).collect();
        let found = seen(Path::new("/"), directory);
        let strange: Vec<_> = found
            .iter()
            .filter(|path| !expected.contains(*path) && !path.starts_with("/proc"))
            .collect();
        assert!(strange.is_empty(), "{walls:?} {strange:?}");
        // A descriptor that somebody had does not lead out, nor does the working directory.
        for start in [&inside, &File::open(".").unwrap()] {
            let up = openat(start, "../../../../../..", OFlags::PATH, Mode::empty()).unwrap();
            assert!(refused_at(&up, "etc/passwd"));
            assert!(refused_at(start, "secret"));
        }
        let by_name = format!(
            "/proc/self/fd/{}/../../../../etc/passwd",
            inside.as_raw_fd()
        );
        assert!(refused(File::open(by_name)));
        assert!(refused(fs::write("/x", "x")), "the root can be written to");
    });
}

fn refused_at(start: impl rustix::fd::AsFd, path: &str) -> bool {
    refused(openat(start, path, OFlags::RDONLY, Mode::empty()).map_err(Into::into))
}

#[test]
fn names_lead_where_they_did() {
    played("names_lead_where_they_did", |directory| {
        let (real, link) = (directory.join("real"), directory.join("link"));
        fs::create_dir(&real).unwrap();
        fs::write(real.join("file"), "x").unwrap();
        symlink("real", &link).unwrap();
        std::env::set_current_dir(directory).unwrap();
        let kept = File::open(".").unwrap();
        let needs = Needs {
            read: vec![link.join("file")],
            write: vec![real.clone(), ".".into()],
            ..Needs::default()
        };
        enter(&needs).unwrap();
        assert_eq!(fs::read(link.join("file")).unwrap(), b"x");
        fs::write("real/new", "x").unwrap();
        assert!(openat(&kept, "real/new", OFlags::RDONLY, Mode::empty()).is_ok());
        assert!(openat(CWD, "../other", OFlags::RDONLY, Mode::empty()).is_err());
    });
}

#[test]
fn datagrams_reach_nobody_elses_sockets() {
    let with_network = |directory: &Path| Needs {
        network: true,
        ..own(directory)
    };
    let name = "datagrams_reach_nobody_elses_sockets";
    played(name, |directory| {
        let other = directory.parent().unwrap().join("other/socket");
        let theirs = UnixDatagram::bind(&other).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let walls = enter(&with_network(directory)).unwrap();
        if !has_root(&walls) {
            return;
        }
        // The kind of socket that a network shared by guests is made of.
        let (ours, _) = UnixDatagram::pair().unwrap();
        let sent = ours.send_to(b"hello", &other);
        assert!(refused(sent));
        assert!(theirs.recv(&mut [0; 8]).is_err());
    });
}

#[test]
fn root_becomes_a_user_of_its_own_and_its_files_stay_roots() {
    let name = "root_becomes_a_user_of_its_own_and_its_files_stay_roots";
    let before = rustix::process::geteuid().as_raw();
    let play = |directory: &Path| {
        let walls = enter(&own(directory)).unwrap();
        let user = rustix::process::geteuid().as_raw();
        match walls.user {
            User::Own(own) => {
                assert_eq!((own, user), (OWN_USER, OWN_USER));
                let set = rustix::thread::set_thread_uid(rustix::process::Uid::ROOT);
                assert!(set.is_err());
            }
            User::Namespace => assert_ne!(user, 0),
            User::Same => println!("skipped: {}", walls.missing.join("; ")),
        }
        // To itself, its files are its own.
        fs::write(directory.join("mine"), "x").unwrap();
        assert_eq!(fs::metadata(directory.join("mine")).unwrap().uid(), user);
    };
    played_and_seen(name, play, |directory| {
        let found = fs::metadata(directory.join("mine")).unwrap().uid();
        assert_ne!(found, OWN_USER);
        assert!([before, NOBODY].contains(&found));
    });
}

#[test]
fn namespaces_are_its_own() {
    let needs = |directory: &Path| Needs {
        read: vec!["/proc/self".into()],
        ..own(directory)
    };
    let kinds = ["mnt", "ipc", "uts", "net", "cgroup"];
    let now = || kinds.map(|kind| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap());
    played("namespaces_are_its_own", |directory| {
        let before = now();
        let walls = enter(&needs(directory)).unwrap();
        if walls.namespaces.len() == kinds.len() {
            let after = now();
            assert!(before.iter().zip(&after).all(|(a, b)| a != b), "{after:?}");
        } else {
            println!("skipped: {}", walls.missing.join("; "));
        }
    });
}

#[test]
fn where_the_host_gives_no_namespaces_the_other_walls_stand() {
    let name = "where_the_host_gives_no_namespaces_the_other_walls_stand";
    played(name, |directory| {
        forbid_namespaces();
        let walls = enter(&own(directory)).unwrap();
        assert!(!walls.root && walls.user == User::Same && walls.seccomp);
        let said = walls.missing.join("; ");
        assert!(said.contains("Operation not permitted"), "{said}");
        assert!(refused(File::open("/etc/passwd")), "{walls:?}");
    });
}

/// As a container's filter does.
fn forbid_namespaces() {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};
    let filter = SeccompFilter::new(
        [(libc::SYS_unshare, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.cast_unsigned()),
        TargetArch::x86_64,
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&program).unwrap();
}
