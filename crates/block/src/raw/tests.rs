use std::io::ErrorKind;
use std::path::Path;

use crate::testing::{TestDirectory, bytes_of, pattern, read_all};
use crate::{BlockDevice, BlockError, RawDisk};

#[test]
fn what_is_written_is_read_and_in_the_file() {
    let directory = TestDirectory::new();
    let path = directory.file("disk", &[0; 8192]);
    let disk = RawDisk::open(&path, false).unwrap();
    let data = pattern(1000, 1);
    disk.write_at(&data, 100).unwrap();
    disk.flush().unwrap();
    assert_eq!(bytes_of(&path)[100..1100], data);
    let mut read = vec![0; 1000];
    disk.read_at(&mut read, 100).unwrap();
    assert_eq!(read, data);
}

#[test]
fn an_odd_length_is_rounded_up_with_zeros() {
    let directory = TestDirectory::new();
    let path = directory.file("disk", &[0xaa; 700]);
    let disk = RawDisk::open(&path, false).unwrap();
    assert_eq!(disk.len(), 1024);
    let all = read_all(&disk);
    assert!(all[..700].iter().all(|&byte| byte == 0xaa));
    assert!(all[700..].iter().all(|&byte| byte == 0));
    disk.write_at(&[0xbb; 512], 512).unwrap();
    assert_eq!(bytes_of(&path).len(), 1024);
}

#[test]
fn ranges_outside_the_disk_are_refused() {
    let directory = TestDirectory::new();
    let disk = RawDisk::open(&directory.file("disk", &[0; 1024]), false).unwrap();
    let mut buffer = [0; 512];
    for offset in [513, 1024, u64::MAX, u64::MAX - 511] {
        let error = disk.read_at(&mut buffer, offset).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(disk.write_at(&buffer, offset).is_err());
        assert!(disk.discard(offset, 512).is_err());
        assert!(disk.write_zeroes(offset, 512, true).is_err());
    }
}

#[test]
fn zeroing_and_discarding() {
    let directory = TestDirectory::new();
    let disk = RawDisk::open(&directory.file("disk", &[0xff; 64 << 10]), false).unwrap();
    disk.write_zeroes(1000, 10_000, false).unwrap();
    disk.write_zeroes(20_000, 10_000, true).unwrap();
    disk.discard(40_960, 8192).unwrap();
    disk.discard(0, 0).unwrap();
    let all = read_all(&disk);
    assert!(all[1000..11_000].iter().all(|&byte| byte == 0));
    assert!(all[20_000..30_000].iter().all(|&byte| byte == 0));
    assert_eq!(
        (all[999], all[11_000], all[19_999], all[30_000]),
        (255, 255, 255, 255)
    );
}

#[test]
fn a_read_only_disk_is_not_written() {
    let directory = TestDirectory::new();
    let path = directory.file("disk", &[7; 512]);
    let disk = RawDisk::open(&path, true).unwrap();
    for refused in [
        disk.write_at(&[0; 512], 0),
        disk.discard(0, 512),
        disk.write_zeroes(0, 512, true),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
    disk.flush().unwrap();
    assert_eq!(bytes_of(&path), [7; 512]);
}

#[test]
fn writers_are_alone_and_readers_are_not() {
    let directory = TestDirectory::new();
    let path = directory.file("disk", &[0; 512]);
    let writer = RawDisk::open(&path, false).unwrap();
    for read_only in [true, false] {
        let refused = RawDisk::open(&path, read_only);
        assert!(matches!(refused, Err(BlockError::InUse { .. })));
    }
    drop(writer);
    let _first = RawDisk::open(&path, true).unwrap();
    let _second = RawDisk::open(&path, true).unwrap();
    assert!(RawDisk::open(&path, false).is_err());
}

#[test]
fn what_is_no_disk_is_named_in_a_sentence() {
    let directory = TestDirectory::new();
    let missing = RawDisk::open(&directory.path("none"), true).unwrap_err();
    assert!(
        missing.to_string().ends_with("none does not exist"),
        "{missing}"
    );
    for read_only in [true, false] {
        let folder = RawDisk::open(&directory.path(""), read_only).unwrap_err();
        assert!(
            folder
                .to_string()
                .ends_with("is a directory, not a disk image"),
            "{folder}"
        );
        let null = RawDisk::open(Path::new("/dev/null"), read_only).unwrap_err();
        assert_eq!(
            null.to_string(),
            "/dev/null is neither a file nor a block device"
        );
    }
}

#[test]
fn an_empty_file_is_an_empty_disk() {
    let directory = TestDirectory::new();
    let disk = RawDisk::open(&directory.file("disk", &[]), false).unwrap();
    assert!(disk.is_empty());
    disk.read_at(&mut [], 0).unwrap();
    assert!(disk.write_at(&[1], 0).is_err());
}

#[test]
fn what_is_in_memory_is_read_without_waiting() {
    let directory = TestDirectory::new();
    let content = pattern(5 * 512 + 100, 5);
    let disk = RawDisk::open(&directory.file("disk", &content), true).unwrap();
    let mut end = [1; 1024];
    // Just written, so it is there; a file system that cannot say answers false.
    if disk.read_now(&mut end, 4 * 512).unwrap() {
        assert_eq!(end[..612], content[4 * 512..]);
        assert!(end[612..].iter().all(|&byte| byte == 0));
    }
    let outside = disk.read_now(&mut end, 5 * 512 + 1).unwrap_err();
    assert_eq!(outside.kind(), ErrorKind::InvalidInput);
}
