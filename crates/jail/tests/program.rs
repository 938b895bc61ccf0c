//! A program that helps a guest, and has been taken over by it.

#[allow(dead_code, reason = "other tests use the rest")]
mod play;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use jail::{ProgramNeeds, confine_program};
use play::{OWN_USER, played, refused};

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
        let mut touch = Command::new("/usr/bin/touch");
        assert!(touch.arg("made").status().unwrap().success());
        assert_eq!(fs::read("kept").unwrap(), b"x");
        fs::rename("made", "kept").unwrap();
        fs::remove_file("kept").unwrap();
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
        let see = Command::new("/bin/cat")
            .arg("/etc/passwd")
            .output()
            .unwrap();
        assert!(!see.status.success());
        assert!(
            !Command::new("/bin/mkdir")
                .arg("made")
                .status()
                .unwrap()
                .success()
        );
        let none = rustix::thread::capabilities(None).unwrap();
        assert!(none.permitted.is_empty() && none.effective.is_empty());
        if was_root {
            assert_eq!(rustix::process::geteuid().as_raw(), OWN_USER);
            assert_eq!(fs::metadata("kept").unwrap().uid(), OWN_USER);
        }
    });
}
