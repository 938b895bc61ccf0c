use std::io::ErrorKind;
use std::path::PathBuf;

use crate::testing::{TestDirectory, bytes_of, empty_qcow2, read_all};
use crate::{BlockError, DiskOptions, Format, Overlay, open};

fn options(path: PathBuf) -> DiskOptions {
    DiskOptions {
        path,
        ..DiskOptions::default()
    }
}

#[test]
fn without_a_magic_it_is_raw() {
    let directory = TestDirectory::new();
    let disk = open(&options(directory.file("disk", b"hello"))).unwrap();
    assert_eq!(disk.len(), 512);
    assert_eq!(read_all(&*disk)[..6], *b"hello\0");
}

#[test]
fn a_magic_is_recognised_and_an_explicit_format_wins() {
    let directory = TestDirectory::new();
    let path = empty_qcow2(&directory, "disk");
    let probed = open(&options(path.clone())).unwrap();
    assert_eq!(probed.len(), 1 << 20);
    drop(probed);
    let raw = DiskOptions {
        format: Format::Raw,
        ..options(path.clone())
    };
    assert_eq!(read_all(&*open(&raw).unwrap())[..4], *b"QFI\xfb");
    let qcow2 = DiskOptions {
        format: Format::Qcow2,
        ..options(directory.file("raw", &[0; 4096]))
    };
    let error = open(&qcow2).unwrap_err();
    assert!(
        error.to_string().contains("does not begin with the magic"),
        "{error}"
    );
}

#[test]
fn formats_that_are_only_read_are_not_written() {
    let directory = TestDirectory::new();
    for (start, name) in [
        (&b"KDMV\x01\0\0\0"[..], "vmdk"),
        (b"vhdxfile", "vhdx"),
        (b"conectix", "vhd"),
    ] {
        let error = open(&options(directory.file(name, start))).unwrap_err();
        assert!(matches!(&error, BlockError::OnlyRead { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_guest_cannot_turn_a_guessed_raw_disk_into_another_format() {
    let directory = TestDirectory::new();
    let path = directory.file("disk", &[0; 4096]);
    let disk = open(&options(path.clone())).unwrap();
    let mut sector = [0; 512];
    sector[..4].copy_from_slice(b"QFI\xfb");
    let refused = disk.write_at(&sector, 0).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    disk.write_at(b"QFI", 0).unwrap();
    assert!(disk.write_at(b"\xfb", 3).is_err(), "piece by piece");
    disk.write_at(&sector, 512).unwrap();
    disk.write_at(&[1; 512], 0).unwrap();
    drop(disk);
    let told = DiskOptions {
        format: Format::Raw,
        ..options(path.clone())
    };
    open(&told).unwrap().write_at(&sector, 0).unwrap();
    assert_eq!(bytes_of(&path)[..4], *b"QFI\xfb");
}

#[test]
fn a_read_only_disk_needs_no_overlay() {
    let directory = TestDirectory::new();
    let disk = open(&DiskOptions {
        read_only: true,
        overlay: Overlay::Temporary,
        ..options(directory.file("disk", &[0; 512]))
    })
    .unwrap();
    assert!(disk.read_only());
}

#[test]
fn two_guests_share_a_base_under_overlays_and_nobody_writes_it_meanwhile() {
    let directory = TestDirectory::new();
    let path = directory.file("disk", &[0; 4096]);
    let over = DiskOptions {
        overlay: Overlay::Temporary,
        ..options(path.clone())
    };
    let first = open(&over).unwrap();
    let second = open(&over).unwrap();
    first.write_at(&[1; 512], 0).unwrap();
    assert_eq!(read_all(&*second), [0; 4096]);
    assert_eq!(bytes_of(&path), [0; 4096]);
    assert!(matches!(
        open(&options(path)),
        Err(BlockError::InUse { .. })
    ));
}
