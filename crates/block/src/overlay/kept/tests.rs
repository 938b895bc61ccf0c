use std::path::{Path, PathBuf};

use crate::testing::{TestDirectory, bytes_of, empty_qcow2, pattern, qemu_img, read_all};
use crate::{BlockError, DiskOptions, Overlay, open};

fn kept(base: &Path, kept: PathBuf) -> DiskOptions {
    DiskOptions {
        path: base.to_owned(),
        overlay: Overlay::Keep(kept),
        ..DiskOptions::default()
    }
}

#[test]
fn it_is_created_kept_and_opened_again() {
    let directory = TestDirectory::new();
    let mut expected = pattern(300 << 10, 1);
    let base = directory.file("base", &expected);
    let options = kept(&base, directory.path("kept.qcow2"));
    let data = pattern(70_000, 2);
    {
        let disk = open(&options).unwrap();
        assert!(read_all(&*disk) == expected);
        disk.write_at(&data, 1000).unwrap();
        disk.flush().unwrap();
    }
    assert!(bytes_of(&base) == expected, "the base was written");
    expected[1000..71_000].copy_from_slice(&data);
    assert!(read_all(&*open(&options).unwrap()) == expected);
    if qemu_img(&directory, &["convert", "-O", "raw", "kept.qcow2", "flat"]) {
        assert!(bytes_of(&directory.path("flat")) == expected);
        qemu_img(&directory, &["check", "kept.qcow2"]);
    }
}

#[test]
fn a_qcow2_base_works_as_well() {
    let directory = TestDirectory::new();
    let base = empty_qcow2(&directory, "base.qcow2");
    let options = kept(&base, directory.path("kept"));
    open(&options).unwrap().write_at(&[5; 512], 512).unwrap();
    let all = read_all(&*open(&options).unwrap());
    assert_eq!((all[511], all[512], all[1023], all[1024]), (0, 5, 5, 0));
}

#[test]
fn it_belongs_to_one_base() {
    let directory = TestDirectory::new();
    let base = directory.file("base", &[0; 4096]);
    let other = directory.file("other", &[0; 4096]);
    let overlay = directory.path("kept");
    drop(open(&kept(&base, overlay.clone())).unwrap());
    let error = open(&kept(&other, overlay)).unwrap_err();
    assert!(matches!(error, BlockError::OtherBase { .. }), "{error}");
    let plain = empty_qcow2(&directory, "plain.qcow2");
    let error = open(&kept(&base, plain)).unwrap_err();
    assert!(matches!(error, BlockError::OtherBase { .. }), "{error}");
}

#[test]
fn one_that_the_power_failed_under_is_made_anew() {
    let directory = TestDirectory::new();
    let base = directory.file("base", &[3; 4096]);
    let options = kept(&base, directory.path("kept"));
    drop(open(&options).unwrap());
    directory.file("kept", &[0; 262_144]);
    assert!(read_all(&*open(&options).unwrap()) == [3; 4096]);
    assert_eq!(bytes_of(&directory.path("kept.unfinished")), [0; 262_144]);
}

#[test]
fn two_guests_cannot_share_it() {
    let directory = TestDirectory::new();
    let base = directory.file("base", &[0; 4096]);
    let options = kept(&base, directory.path("kept"));
    let _first = open(&options).unwrap();
    assert!(matches!(open(&options), Err(BlockError::InUse { .. })));
}

#[test]
fn where_it_cannot_be_made_is_said() {
    let directory = TestDirectory::new();
    let base = directory.file("base", &[0; 4096]);
    let error = open(&kept(&base, directory.path("no/such/folder"))).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot create disk overlay"),
        "{error}"
    );
    let error = open(&kept(&directory.path("none"), directory.path("kept"))).unwrap_err();
    assert!(matches!(error, BlockError::Missing { .. }), "{error}");
    assert!(!directory.path("kept").exists());
}

#[test]
fn what_was_kept_is_written_over_for_a_while() {
    let directory = TestDirectory::new();
    let base = directory.file("base", &[1; 4096 * 4]);
    let layer = directory.path("layer.qcow2");
    let first = open(&kept(&base, layer.clone())).unwrap();
    first.write_at(&[2; 4096], 4096).unwrap();
    first.flush().unwrap();
    drop(first);
    let before = bytes_of(&layer);
    let options = DiskOptions {
        path: base,
        overlay: Overlay::Temporary,
        layers: vec![layer.clone()],
        ..DiskOptions::default()
    };
    // Both read the layer, and neither sees what the other writes.
    let one = open(&options).unwrap();
    let other = open(&options).unwrap();
    one.write_at(&[3; 4096], 8192).unwrap();
    let (one, other) = (read_all(&*one), read_all(&*other));
    assert_eq!([one[0], one[4096], one[8192], one[12288]], [1, 2, 3, 1]);
    assert_eq!([other[0], other[4096], other[8192]], [1, 2, 1]);
    assert!(bytes_of(&layer) == before, "the layer was written");
}
