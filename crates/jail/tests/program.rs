//! A program that helps a guest, and has been taken over by it.

#[allow(dead_code, reason = "other tests use the rest")]
mod play;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use jail::{ProgramNeeds, confine_program};
use play::{OWN_USER, played, refused};
use rustix::io::Errno;

/// Bytes.
const MUCH: usize = 512 << 20;

fn confine(own: &Path) {
    let needs = ProgramNeeds {
        run: ["/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache"]
            .map(Into::into)
            .to_vec(),
        devices: vec!["/dev/null".into()],
        own: own.to_owned(),
        user: OWN_USER,
    };
    fs::write(own.join("kept"), "x").unwrap();
    // As it is done: names above may be hidden from another user.
    std::env::set_current_dir(own).unwrap();
    confine_program(&needs).unwrap();
}

#[test]
fn a_program_runs_and_has_its_directory() {
    played("a_program_runs_and_has_its_directory", |own| {
        confine(own);
        // It becomes the program, as root's may start none beside itself.
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "read word < kept; test \"$word\" = x && echo > made"]);
        let error = shell.exec();
        panic!("{error}");
    });
}

#[test]
fn it_has_its_directory_and_little_memory() {
    played("it_has_its_directory_and_little_memory", |own| {
        let was_root = rustix::process::geteuid().is_root();
        confine(own);
        fs::write("made", "y").unwrap();
        assert_eq!(fs::read("kept").unwrap(), b"x");
        fs::rename("made", "kept").unwrap();
        fs::remove_file("kept").unwrap();
        assert!(Vec::<u8>::new().try_reserve_exact(MUCH).is_err());
        if was_root {
            let beside = Command::new("/bin/true").status();
            assert_eq!(
                beside.unwrap_err().raw_os_error(),
                Some(Errno::AGAIN.raw_os_error())
            );
        }
    });
}

#[test]
fn it_has_nothing_else() {
    played("it_has_nothing_else", |own| {
        let was_root = rustix::process::geteuid().is_root();
        confine(own);
        let other = own.parent().unwrap().join("other");
        // By the directory that it works in, which another user finds by nothing else.
        for path in [
            other.join("secret"),
            "../other/secret".into(),
            "/etc/passwd".into(),
        ] {
            assert!(refused(fs::read(&path)), "{}", path.display());
        }
        assert!(refused(fs::create_dir("made")));
        let none = rustix::thread::capabilities(None).unwrap();
        assert!(none.permitted.is_empty() && none.effective.is_empty());
        if was_root {
            assert_eq!(rustix::process::geteuid().as_raw(), OWN_USER);
            assert_eq!(fs::metadata("kept").unwrap().uid(), OWN_USER);
        }
        // Nor has what it becomes.
        let see = "exec 2> /dev/null; if read line < /etc/passwd; then exit 1; fi; exit 0";
        let error = Command::new("/bin/sh").args(["-c", see]).exec();
        panic!("{error}");
    });
}
