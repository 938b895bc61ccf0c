//! Plays code that has escaped from a guest, in a process of its own, since there is no way out of the
//! jail: this very program, with one test to run, as who runs it and, where that is root, as a user
//! without rights.

mod alone_raw;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use jail::{Needs, Walls, enter};
use rustix::fs::Mode;

const INSIDE: &str = "JAIL_TEST_DIRECTORY";
pub(crate) const NOBODY: u32 = 65534;
/// Whom the jail makes of root.
pub(crate) const OWN_USER: u32 = 1_900_000_000;

/// Runs `escaped` in the jail, in other processes. It is given a directory that it may write to, and
/// beside which there is another that it may not, and which walls stand.
pub(crate) fn jailed_with(
    test: &str,
    needs: impl Fn(&Path) -> Needs,
    escaped: impl Fn(&Path, &Walls),
) {
    played(test, |directory| {
        // As guests' processes have it.
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
        let walls = enter(&needs(directory)).expect("the jail can be entered");
        escaped(directory, &walls);
    });
}

/// Runs `play` in other processes, which have one thread.
pub(crate) fn played(test: &str, play: impl Fn(&Path)) {
    played_and_seen(test, play, |_| ());
}

/// The same; `see` is given the directory afterwards, and not in the jail.
pub(crate) fn played_and_seen(test: &str, play: impl Fn(&Path), see: impl Fn(&Path)) {
    if let Some(directory) = std::env::var_os(INSIDE) {
        let directory = PathBuf::from(directory);
        assert!(alone_raw::succeeds(|| play(&directory)));
        return;
    }
    play_as(test, None, &see);
    if rustix::process::geteuid().is_root() {
        play_as(test, Some(NOBODY), &see);
    }
}

fn play_as(test: &str, user: Option<u32>, see: impl Fn(&Path)) {
    let place = std::env::temp_dir().canonicalize().unwrap();
    let place = place.join(format!("jail-{test}-{}", std::process::id()));
    for name in ["own", "other"] {
        fs::create_dir_all(place.join(name)).unwrap();
        chown(place.join(name), user, user).unwrap();
    }
    fs::write(place.join("other/secret"), "secret").unwrap();
    chown(place.join("other/secret"), user, user).unwrap();
    // A program that anybody can get at, wherever this one lies. Copied by another process: one that
    // is open to be written, in a fork of a test beside this one too, cannot be run.
    let program = place.join("program");
    let mut copy = Command::new("cp");
    copy.arg(std::env::current_exe().unwrap()).arg(&program);
    assert!(copy.status().unwrap().success());
    let mut command = Command::new(&program);
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .current_dir(&place)
        .env(INSIDE, place.join("own"));
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let played = command.output().unwrap();
    let told = String::from_utf8_lossy(&played.stderr);
    assert!(played.status.success(), "as {user:?}: {told}");
    // Why something was skipped.
    print!("{}", String::from_utf8_lossy(&played.stdout));
    see(&place.join("own"));
    fs::remove_dir_all(&place).unwrap();
}

/// What a plain guest needs.
pub(crate) fn own(directory: &Path) -> Needs {
    Needs {
        write: vec![directory.to_owned()],
        user: Some(OWN_USER),
        ..Needs::default()
    }
}

/// Is it not allowed, or not even there?
pub(crate) fn refused<T>(result: std::io::Result<T>) -> bool {
    result.is_err_and(|error| {
        matches!(
            error.kind(),
            ErrorKind::PermissionDenied | ErrorKind::NotFound | ErrorKind::ReadOnlyFilesystem
        )
    })
}
