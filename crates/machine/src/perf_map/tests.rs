use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use engine::CodeListener;
use memory::Gla;

use super::{MOST_BYTES, PerfMap, Symbols};
use crate::sync::lock;

/// A directory that goes away with this value.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let name = format!("innkeeper-perf-map-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn symbols() -> Symbols {
    let named = [(0x2000, "second\nline"), (0x1000, "first")];
    Symbols::new(named.map(|(at, name)| (at, name.to_owned())).to_vec())
}

#[test]
fn code_is_named_by_the_function_before_it() {
    let cases = [
        (0xfff, "0xfff"),
        (0x1000, "first"),
        (0x1fff, "first+0xfff"),
        (0x2010, "second?line+0x10"),
        (0x2000 + (1 << 20), "0x102000"),
        (u64::MAX, "0xffffffffffffffff"),
    ];
    for (address, name) in cases {
        assert_eq!(symbols().name(address), name);
    }
    assert_eq!(Symbols::default().name(16), "0x10");
}

#[test]
fn a_line_is_there_as_soon_as_the_code_is() {
    let directory = Directory::new("line");
    let path = directory.0.join("map");
    fs::write(&path, "of a process that had this number before").unwrap();
    let map = PerfMap::create(&path, symbols()).unwrap();
    map.made(Some(Gla(0x1004)), 0xabc0, 32);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "abc0 20 guest:first+0x4\n"
    );
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_others_put_there_is_not_followed_and_not_written() {
    let directory = Directory::new("link");
    let path = directory.0.join("map");
    let victim = directory.0.join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, &path).unwrap();
    PerfMap::create(&path, symbols()).unwrap_err();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    PerfMap::create(&path, symbols()).unwrap_err();
}

#[test]
fn it_does_not_grow_without_end() {
    let directory = Directory::new("bound");
    let path = directory.0.join("map");
    let map = PerfMap::create(&path, symbols()).unwrap();
    assert_eq!(lock(&map.file).1, MOST_BYTES);
    lock(&map.file).1 = 60;
    for _ in 0..10 {
        map.made(Some(Gla(0x1004)), 0xabc0, 32);
    }
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
}
