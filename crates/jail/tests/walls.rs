//! Code that has escaped from a guest, and what it can not do.

mod play;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use jail::{Enforcement, Needs, User, enter};
use play::{jailed_with, own, refused};

fn jailed(test: &str, needs: impl Fn(&Path) -> Needs, escaped: impl Fn(&Path)) {
    jailed_with(test, needs, |directory, _| escaped(directory));
}

#[test]
fn its_own_files_are_its_own() {
    jailed("its_own_files_are_its_own", own, |directory| {
        let (old, new) = (directory.join("a"), directory.join("b"));
        fs::write(&old, "x").unwrap();
        fs::rename(&old, &new).unwrap();
        assert_eq!(fs::read(&new).unwrap(), b"x");
        fs::remove_file(&new).unwrap();
    });
}

#[test]
fn other_files_are_not() {
    jailed("other_files_are_not", own, |directory| {
        let other = directory.parent().unwrap().join("other");
        for path in [
            other.join("secret"),
            "/etc/passwd".into(),
            "/proc/1/environ".into(),
        ] {
            assert!(refused(fs::read(&path)), "{} can be read", path.display());
        }
        assert!(refused(fs::write(other.join("x"), "x")));
        assert!(refused(fs::remove_file(other.join("secret"))));
        assert!(refused(fs::rename(
            other.join("secret"),
            directory.join("x")
        )));
    });
}

#[test]
fn what_is_to_be_read_is_not_to_be_written() {
    let needs = |directory: &Path| Needs {
        read: vec![directory.to_owned(), "/no/such/file".into()],
        ..Needs::default()
    };
    jailed(
        "what_is_to_be_read_is_not_to_be_written",
        needs,
        |directory| {
            assert!(fs::read_dir(directory).is_ok());
            assert!(refused(fs::write(directory.join("x"), "x")));
        },
    );
}

#[test]
fn nothing_can_be_started() {
    jailed("nothing_can_be_started", own, |directory| {
        assert!(refused(Command::new("/bin/true").status()));
        let copy = directory.join("true");
        fs::write(&copy, "#!/bin/sh\n").unwrap();
        assert!(refused(Command::new(&copy).status()));
        // A thread can: the machine is made of them.
        assert_eq!(std::thread::spawn(|| 5).join().unwrap(), 5);
    });
}

#[test]
fn nobody_can_be_signalled_or_traced() {
    jailed("nobody_can_be_signalled_or_traced", own, |_| {
        use rustix::io::Errno;
        use rustix::process::{Pid, Signal, getpid, getppid, kill_process, test_kill_process};
        let parent = getppid().unwrap();
        assert_eq!(kill_process(parent, Signal::TERM), Err(Errno::PERM));
        assert_eq!(kill_process(Pid::INIT, Signal::TERM), Err(Errno::PERM));
        assert_eq!(test_kill_process(getpid()), Ok(()));
        let limits = rustix::process::prlimit(
            Some(parent),
            rustix::process::Resource::Core,
            rustix::process::getrlimit(rustix::process::Resource::Core),
        );
        assert_eq!(limits.unwrap_err(), Errno::PERM);
    });
}

#[test]
fn there_is_no_network_unless_it_is_needed() {
    jailed(
        "there_is_no_network_unless_it_is_needed",
        own,
        |directory| {
            assert!(refused(TcpListener::bind("127.0.0.1:0")));
            assert!(refused(UdpSocket::bind("127.0.0.1:0")));
            assert!(refused(UnixStream::connect(directory.join("x"))));
        },
    );
}

#[test]
fn with_a_network_there_are_connections_and_no_sockets_of_other_guests() {
    let needs = |directory: &Path| Needs {
        network: true,
        ..own(directory)
    };
    let name = "with_a_network_there_are_connections_and_no_sockets_of_other_guests";
    jailed(name, needs, |directory| {
        assert!(TcpListener::bind("127.0.0.1:0").is_ok());
        assert!(UdpSocket::bind("127.0.0.1:0").is_ok());
        assert!(refused(UnixStream::connect(directory.join("x"))));
    });
}

#[test]
fn there_is_no_way_to_more() {
    jailed("there_is_no_way_to_more", own, |directory| {
        let file = directory.join("x");
        fs::write(&file, "x").unwrap();
        let everything = fs::Permissions::from_mode(0o4777);
        assert!(refused(fs::set_permissions(&file, everything)));
        assert!(refused(std::os::unix::fs::chown(&file, Some(0), Some(0))));
        assert!(refused(fs::hard_link(&file, directory.join("y"))));
        assert!(refused(symlink("/etc/passwd", directory.join("z"))));
        // Nor out by the same door: what enters is locked in.
        assert!(enter(&own(directory)).is_err());
    });
}

#[test]
fn the_walls_that_stand_are_told() {
    jailed_with("the_walls_that_stand_are_told", own, |_, walls| {
        assert!(walls.seccomp);
        let full = walls.root && walls.user != User::Same && walls.landlock == Enforcement::Full;
        // Whatever does not stand is excused.
        assert!(full || !walls.missing.is_empty(), "{walls:?}");
    });
}
