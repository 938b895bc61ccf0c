use std::io::ErrorKind;
use std::path::Path;

use super::*;
use crate::testing::{TestDirectory, bytes_of, pattern, qemu_img, read_all};
use crate::{convert, open};

fn options(path: &Path) -> DiskOptions {
    DiskOptions {
        path: path.to_owned(),
        read_only: true,
        ..DiskOptions::default()
    }
}

fn content() -> Vec<u8> {
    let mut data = pattern(3 << 20, 5);
    data[1 << 20..2 << 20].fill(0);
    // Something that compresses.
    data[2 << 20..(2 << 20) + 300_000].fill(b'x');
    data
}

#[test]
fn images_of_ours_are_qemus() {
    let directory = TestDirectory::new();
    for (number, (size, cluster_bits, lazy, preallocate)) in [
        (1u64 << 30, 16, false, false),
        (10 << 20, 9, true, false),
        (1 << 40, 16, true, false),
        (5 << 40, 21, false, false),
        (64 << 20, 12, false, true),
        (0, 16, false, false),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("image{number}");
        let new = NewImage {
            size: Some(size),
            cluster_bits,
            lazy_refcounts: lazy,
            preallocate,
            ..NewImage::default()
        };
        create(&directory.path(&name), &new).unwrap();
        if !qemu_img(&directory, &["check", &name]) {
            return;
        }
        let info = info(&directory.path(&name), Format::Probe, Trust::Beside).unwrap();
        assert_eq!((info.format, info.size), (Format::Qcow2, size));
        assert_eq!(info.qcow2.unwrap().lazy_refcounts, lazy);
        assert_eq!(preallocate, info.allocated >= 64 << 20);
        let report = check(&directory.path(&name), Format::Probe, Repair::Nothing).unwrap();
        assert_eq!((report.errors, report.leaks), (0, 0));
    }
}

#[test]
fn converted_images_hold_the_same_and_are_qemus() {
    let directory = TestDirectory::new();
    let raw = directory.file("raw", &content());
    for (name, format, compress, cluster_bits) in [
        ("plain", Format::Qcow2, false, 16),
        ("packed", Format::Qcow2, true, 16),
        ("small", Format::Qcow2, true, 9),
        ("large", Format::Qcow2, true, 21),
        ("flat", Format::Raw, false, 16),
    ] {
        let source = open(&options(&raw)).unwrap();
        let new = NewImage {
            format,
            cluster_bits,
            ..NewImage::default()
        };
        let path = directory.path(name);
        let mut last = (0, 0);
        convert(&*source, &path, &new, compress, |done, all| {
            last = (done, all);
            true
        })
        .unwrap();
        assert_eq!(last, (3 << 20, 3 << 20));
        assert!(
            read_all(&*open(&options(&path)).unwrap()) == content(),
            "{name}"
        );
        if qemu_img(&directory, &["compare", "raw", name]) && format == Format::Qcow2 {
            qemu_img(&directory, &["check", name]);
        }
        let again = convert(&*source, &path, &new, compress, |_, _| true).unwrap_err();
        assert!(again.to_string().contains("already"), "{again}");
    }
    let size = |name| bytes_of(&directory.path(name)).len();
    assert!(size("packed") < size("plain"));
    let stopped = convert(
        &*open(&options(&raw)).unwrap(),
        &directory.path("stopped"),
        &NewImage::default(),
        false,
        |done, _| done == 0,
    );
    let BlockError::Change { source, .. } = stopped.unwrap_err() else {
        panic!("another error");
    };
    assert_eq!(source.kind(), ErrorKind::Interrupted);
    let left = std::fs::read_dir(directory.path("")).unwrap().count();
    assert_eq!(left, 6, "something was left behind");
}

#[test]
fn what_was_packed_is_written_over() {
    let directory = TestDirectory::new();
    let raw = directory.file("raw", &vec![b'x'; 1 << 20]);
    let path = directory.path("image");
    let source = open(&options(&raw)).unwrap();
    convert(&*source, &path, &NewImage::default(), true, |_, _| true).unwrap();
    let mut expected = vec![b'x'; 1 << 20];
    {
        let disk = Qcow2Disk::open(&path, false).unwrap();
        for offset in [0, 70_000, 500_000] {
            disk.write_at(&[b'y'; 1000], offset as u64).unwrap();
            expected[offset..offset + 1000].fill(b'y');
        }
        disk.discard(131_072, 65_536).unwrap();
        expected[131_072..196_608].fill(0);
        assert!(read_all(&disk) == expected);
        disk.close().unwrap();
        let report = disk.check(Repair::Nothing).unwrap();
        assert_eq!((report.errors, report.leaks), (0, 0), "{report:?}");
    }
    if qemu_img(&directory, &["check", "image"]) {
        qemu_img(&directory, &["convert", "-O", "raw", "image", "back"]);
        assert!(bytes_of(&directory.path("back")) == expected);
    }
}

#[test]
fn zstd_images_of_qemus_are_read() {
    let directory = TestDirectory::new();
    directory.file("raw", &content());
    let arguments = [
        "convert",
        "-c",
        "-O",
        "qcow2",
        "-o",
        "compression_type=zstd",
        "raw",
        "image",
    ];
    if qemu_img(&directory, &arguments) {
        let disk = open(&options(&directory.path("image"))).unwrap();
        assert!(read_all(&*disk) == content());
    }
}

#[test]
fn disks_grow_and_shrink() {
    let directory = TestDirectory::new();
    for (name, format, cluster_bits) in [
        ("raw", Format::Raw, 16),
        ("qcow2", Format::Qcow2, 16),
        ("small", Format::Qcow2, 9),
    ] {
        let path = directory.path(name);
        let new = NewImage {
            format,
            size: Some(1 << 20),
            cluster_bits,
            ..NewImage::default()
        };
        create(&path, &new).unwrap();
        let write = DiskOptions {
            read_only: false,
            ..options(&path)
        };
        let mut expected = pattern(1 << 20, 3);
        open(&write).unwrap().write_at(&expected, 0).unwrap();
        resize(&path, Format::Probe, 40 << 20, false).unwrap();
        expected.resize(40 << 20, 0);
        assert!(
            read_all(&*open(&options(&path)).unwrap()) == expected,
            "{name}"
        );
        open(&write).unwrap().write_at(&[9; 512], 39 << 20).unwrap();
        let refused = resize(&path, Format::Probe, 700 << 10, false).unwrap_err();
        assert!(refused.to_string().contains("--shrink"), "{refused}");
        resize(&path, Format::Probe, (700 << 10) - 512, true).unwrap();
        resize(&path, Format::Probe, 1 << 20, false).unwrap();
        expected.truncate(1 << 20);
        expected[(700 << 10) - 512..].fill(0);
        assert!(
            read_all(&*open(&options(&path)).unwrap()) == expected,
            "{name}"
        );
        if format == Format::Qcow2 {
            qemu_img(&directory, &["check", name]);
        }
    }
}

#[test]
fn a_grown_overlay_does_not_show_more_of_its_base() {
    let directory = TestDirectory::new();
    let base = directory.file("base", &pattern(1 << 20, 3));
    let path = directory.path("top");
    let new = NewImage {
        size: Some(512 << 10),
        backing: Some((base.file_name().unwrap().into(), Format::Raw)),
        ..NewImage::default()
    };
    create(&path, &new).unwrap();
    resize(&path, Format::Probe, 2 << 20, false).unwrap();
    let all = read_all(&*open(&options(&path)).unwrap());
    assert!(all[..512 << 10] == pattern(1 << 20, 3)[..512 << 10]);
    assert!(all[512 << 10..].iter().all(|&byte| byte == 0));
    qemu_img(&directory, &["check", "top"]);
}

#[test]
fn snapshots_are_qemus_and_qemus_are_ours() {
    let directory = TestDirectory::new();
    let path = directory.path("image");
    let new = NewImage {
        size: Some(1 << 20),
        cluster_bits: 12,
        ..NewImage::default()
    };
    create(&path, &new).unwrap();
    let write = DiskOptions {
        read_only: false,
        ..options(&path)
    };
    let fill = |byte: u8| {
        open(&write)
            .unwrap()
            .write_at(&vec![byte; 300_000], 0)
            .unwrap()
    };
    let first = || read_all(&*open(&options(&path)).unwrap())[0];
    fill(1);
    change_snapshots(&path, &SnapshotChange::Create("one".into())).unwrap();
    let taken = change_snapshots(&path, &SnapshotChange::Create("one".into())).unwrap_err();
    assert!(sentence(&taken).contains("already"), "{taken}");
    fill(2);
    if qemu_img(&directory, &["snapshot", "-c", "two", "image"]) {
        qemu_img(&directory, &["check", "image"]);
    } else {
        change_snapshots(&path, &SnapshotChange::Create("two".into())).unwrap();
    }
    fill(3);
    let names = snapshots(&path).unwrap();
    let names: Vec<_> = names
        .iter()
        .map(|it| (&*it.id, &*it.name, it.size))
        .collect();
    assert_eq!(names, [("1", "one", 1 << 20), ("2", "two", 1 << 20)]);
    for (name, value) in [("one", 1), ("2", 2)] {
        change_snapshots(&path, &SnapshotChange::Apply(name.into())).unwrap();
        assert_eq!(first(), value);
        qemu_img(&directory, &["check", "image"]);
    }
    qemu_img(&directory, &["snapshot", "-a", "one", "image"]);
    assert!(!qemu_img(&directory, &["info", "image"]) || first() == 1);
    for name in ["one", "two"] {
        change_snapshots(&path, &SnapshotChange::Delete(name.into())).unwrap();
        qemu_img(&directory, &["check", "image"]);
    }
    assert!(snapshots(&path).unwrap().is_empty());
    let none = change_snapshots(&path, &SnapshotChange::Apply("one".into())).unwrap_err();
    assert!(sentence(&none).contains("no snapshot"), "{none}");
}

fn sentence(error: &BlockError) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string);
    format!("{error}: {}", source.unwrap_or_default())
}

#[test]
fn backing_files_elsewhere_need_trust() {
    let directory = TestDirectory::new();
    let elsewhere = TestDirectory::new();
    let base = elsewhere.file("base", &pattern(1 << 20, 3));
    let path = directory.path("top");
    let new = NewImage {
        backing: Some((base.clone(), Format::Raw)),
        ..NewImage::default()
    };
    create(&path, &new).unwrap();
    let refused = open(&options(&path)).unwrap_err();
    assert!(refused.to_string().contains("trust-backing"), "{refused}");
    let trusted = DiskOptions {
        trust: Trust::Anywhere,
        ..options(&path)
    };
    assert!(read_all(&*open(&trusted).unwrap()) == bytes_of(&base));
    assert_eq!(files(&trusted).unwrap(), [path.clone(), base]);
    // It is looked into all the same.
    let info = info(&path, Format::Probe, Trust::Beside).unwrap();
    assert_eq!(info.size, 1 << 20);
}

#[test]
fn checks_find_and_repair_what_is_wrong() {
    let directory = TestDirectory::new();
    let path = directory.path("image");
    create(
        &path,
        &NewImage {
            size: Some(1 << 20),
            ..NewImage::default()
        },
    )
    .unwrap();
    {
        let disk = Qcow2Disk::open(&path, false).unwrap();
        disk.write_at(&[1; 512], 0).unwrap();
    }
    let good = bytes_of(&path);
    // The counts of the L2 table and of the data: none, and one too many for what is behind.
    for (at, count, errors, leaks) in [(4, 0, 1, 0), (4, 3, 0, 1), (6, 1, 0, 1)] {
        let mut bad = good.clone();
        let blocks = 2 * 65_536;
        bad[blocks + at * 2 + 1] = count;
        std::fs::write(&path, bad).unwrap();
        let found = check(&path, Format::Probe, Repair::Nothing).unwrap();
        assert_eq!(found.leaks, leaks, "{found:?}");
        assert!(found.errors >= errors, "{found:?}");
        let repaired = check(&path, Format::Probe, Repair::All).unwrap();
        assert_eq!(repaired.repaired, repaired.errors + repaired.leaks);
        let after = check(&path, Format::Probe, Repair::Nothing).unwrap();
        assert_eq!((after.errors, after.leaks), (0, 0), "{after:?}");
        qemu_img(&directory, &["check", "image"]);
    }
}
