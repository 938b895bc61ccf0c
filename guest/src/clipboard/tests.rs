use std::fs;
use std::path::PathBuf;

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("clipboard-{name}-{}", std::process::id()));
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn number_of(answer: &[u8]) -> u64 {
    u64::from_le_bytes(answer[..8].try_into().unwrap())
}

#[test]
fn who_copies_first_finds_its_folder() {
    let folder = Folder::new("first");
    make(&folder.0).unwrap();
    make(&folder.0).unwrap();
    fs::write(folder.0.join(FILE), "first").unwrap();
    assert_eq!(get_in(&folder.0, 0).unwrap()[8..], *b"\x01first");
}

#[test]
fn what_was_set_is_there_and_is_told_once() {
    let folder = Folder::new("told");
    assert_eq!(get_in(&folder.0, 0).unwrap(), [0; 9]);
    set_in(&folder.0, b"copied \xc3\xa4").unwrap();
    let first = get_in(&folder.0, 0).unwrap();
    assert_eq!(first[8..], *b"\x01copied \xc3\xa4");
    let again = get_in(&folder.0, number_of(&first)).unwrap();
    assert_eq!(
        (number_of(&again), &again[8..]),
        (number_of(&first), &[0][..])
    );
    fs::write(folder.0.join(FILE), "another one").unwrap();
    let other = get_in(&folder.0, number_of(&first)).unwrap();
    assert_eq!(other[8..], *b"\x01another one");
}

#[test]
fn only_so_much_of_a_plain_file_is_told() {
    let folder = Folder::new("plain");
    set_in(&folder.0, &vec![b'a'; 70_000]).unwrap();
    assert_eq!(get_in(&folder.0, 0).unwrap().len(), 9 + 60_000);
    let file = folder.0.join(FILE);
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    assert!(get_in(&folder.0, 0).is_err());
    assert!(set_in(&folder.0, b"x").is_err());
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(get_in(&folder.0, 0).is_err());
}
