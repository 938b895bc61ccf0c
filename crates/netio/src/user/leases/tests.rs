use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, open};

use super::{FIRST, LAST, parse, read, take};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn directory(name: &str) -> (PathBuf, OwnedFd) {
    let path = std::env::temp_dir().join(format!("netio-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    let fd = open(&path, OFlags::DIRECTORY, Mode::empty()).unwrap();
    (path, fd)
}

#[test]
fn a_name_keeps_its_address() {
    let (path, fd) = directory("leases");
    let lease = |name| take(&fd, name, MAC, |_| true).unwrap().last;
    assert_eq!(
        [lease("a"), lease("b"), lease("a")],
        [FIRST, FIRST + 1, FIRST]
    );
    let names: Vec<String> = read(&fd).unwrap().into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["b", "a"]);
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_full_network_gives_the_address_of_a_guest_that_is_gone() {
    let (path, fd) = directory("full");
    for number in FIRST..=LAST {
        take(&fd, &format!("g{number}"), MAC, |_| true).unwrap();
    }
    assert!(take(&fd, "late", MAC, |_| true).is_err());
    let lease = take(&fd, "late", MAC, |name| name != "g77").unwrap();
    assert_eq!(lease.last, 77);
    assert_eq!(lease.address().octets(), [10, 0, 2, 77]);
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn lines_that_mean_nothing_are_left_out() {
    let text = "a 16 020000000001\n\nb\nc 17\nd 1 02\n../e 18 02\nf x 02\ng 19 zz\n";
    let names: Vec<String> = parse(text).into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["a"]);
}
