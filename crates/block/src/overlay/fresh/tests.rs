use std::fs;
use std::path::PathBuf;

use super::{Fresh, is_unfinished};
use crate::file::open_image;
use crate::qcow2::NewQcow2;
use crate::storage::Storage;
use crate::testing::TestDirectory;

const CLUSTER: u64 = 1 << 16;

fn new() -> NewQcow2 {
    NewQcow2 {
        size: 1 << 30,
        cluster_bits: CLUSTER.trailing_zeros(),
        lazy_refcounts: false,
        backing: Some(("base".into(), "raw".into())),
    }
}

fn made() -> (TestDirectory, PathBuf) {
    let directory = TestDirectory::new();
    let path = directory.path("overlay");
    drop(Fresh::create(&path, &new()).unwrap());
    (directory, path)
}

#[test]
fn it_is_there_at_once_and_flushed_when_that_is_asked_for() {
    let directory = TestDirectory::new();
    let path = directory.path("overlay");
    let fresh = Fresh::create(&path, &new()).unwrap();
    assert!(Fresh::create(&path, &new()).is_err());
    fresh.write_at(b"written", 4 * CLUSTER).unwrap();
    fresh.sync().unwrap();
    fresh.sync().unwrap();
    assert!(fs::read(&path).unwrap().ends_with(b"written"));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn one_that_is_whole_is_finished() {
    let (_directory, path) = made();
    assert!(!is_unfinished(&open_image(&path, false).unwrap().file).unwrap());
}

#[test]
fn one_of_which_a_part_is_missing_is_not() {
    let (_directory, path) = made();
    // Header, table of counts, counts.
    for cluster in 0..3 {
        let whole = fs::read(&path).unwrap();
        let mut torn = whole.clone();
        let from = usize::try_from(cluster * CLUSTER).unwrap();
        torn[from..from + 4096].fill(0);
        if cluster == 0 {
            torn.fill(0);
        }
        fs::write(&path, &torn).unwrap();
        let file = open_image(&path, false).unwrap().file;
        assert!(is_unfinished(&file).unwrap(), "cluster {cluster}");
        fs::write(&path, &whole).unwrap();
    }
    fs::write(&path, "").unwrap();
    assert!(is_unfinished(&open_image(&path, false).unwrap().file).unwrap());
}

#[test]
fn what_is_no_overlay_is_not_taken_for_one() {
    let directory = TestDirectory::new();
    for bytes in [
        vec![1; 9000],
        vec![0; 2 << 20],
        [vec![0; 9000], vec![1]].concat(),
    ] {
        let path = directory.file("disk", &bytes);
        assert!(!is_unfinished(&open_image(&path, false).unwrap().file).unwrap());
    }
}
