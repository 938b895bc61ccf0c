#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::path::{Path, PathBuf};

use crate::testing::{TestDirectory, bytes_of, empty_qcow2, pattern, qemu_img, read_all};
use crate::{BlockDevice, BlockError, Qcow2Disk, Repair, check_qcow2};

/// Overwrites bytes of an image.
fn patch(path: &Path, at: usize, bytes: &[u8]) {
    let mut image = bytes_of(path);
    image[at..at + bytes.len()].copy_from_slice(bytes);
    std::fs::write(path, image).unwrap();
}

fn open_error(path: &Path) -> String {
    let read = Qcow2Disk::open(path, true).expect_err("opened").to_string();
    let write = Qcow2Disk::open(path, false)
        .expect_err("opened")
        .to_string();
    assert_eq!(read, write);
    read
}

/// A qcow2 whose header names a backing file.
fn with_backing(directory: &TestDirectory, name: &str, backing: &str) -> PathBuf {
    let path = empty_qcow2(directory, name);
    patch(&path, 0x8000, backing.as_bytes());
    patch(&path, 8, &0x8000u64.to_be_bytes());
    patch(&path, 16, &(backing.len() as u32).to_be_bytes());
    path
}

#[test]
fn what_is_written_is_read_after_reopening() {
    let directory = TestDirectory::new();
    let path = empty_qcow2(&directory, "disk");
    let mut expected = vec![0; 1 << 20];
    {
        let disk = Qcow2Disk::open(&path, false).unwrap();
        for (offset, len) in [(0, 512), (65_000, 70_000), ((1 << 20) - 512, 512)] {
            let data = pattern(len, offset as u64);
            disk.write_at(&data, offset as u64).unwrap();
            expected[offset..offset + len].copy_from_slice(&data);
        }
        disk.write_zeroes(70_000, 1000, false).unwrap();
        disk.write_zeroes(131_072, 65_536, true).unwrap();
        expected[70_000..71_000].fill(0);
        expected[131_072..196_608].fill(0);
        disk.discard(262_144, 65_536).unwrap();
        disk.flush().unwrap();
        assert!(read_all(&disk) == expected);
    }
    let disk = Qcow2Disk::open(&path, true).unwrap();
    assert!(read_all(&disk) == expected);
    assert!(disk.write_at(&[0; 512], 0).is_err());
}

#[test]
fn it_agrees_with_qemu_img() {
    let directory = TestDirectory::new();
    let data = pattern(3 << 20, 7);
    directory.file("raw", &data);
    for arguments in [
        &["convert", "-f", "raw", "-O", "qcow2", "raw", "image"][..],
        &["convert", "-c", "-f", "raw", "-O", "qcow2", "raw", "image"],
        &[
            "convert",
            "-f",
            "raw",
            "-O",
            "qcow2",
            "-o",
            "cluster_size=512",
            "raw",
            "image",
        ],
        &[
            "convert",
            "-f",
            "raw",
            "-O",
            "qcow2",
            "-o",
            "cluster_size=2M",
            "raw",
            "image",
        ],
        &[
            "convert",
            "-f",
            "raw",
            "-O",
            "qcow2",
            "-o",
            "compat=0.10",
            "raw",
            "image",
        ],
    ] {
        if !qemu_img(&directory, arguments) {
            return;
        }
        let path = directory.path("image");
        let mut expected = data.clone();
        {
            let disk = Qcow2Disk::open(&path, false).unwrap();
            assert!(read_all(&disk) == expected, "{arguments:?}");
            let change = pattern(200_000, 8);
            disk.write_at(&change, 123_456).unwrap();
            expected[123_456..323_456].copy_from_slice(&change);
            disk.flush().unwrap();
        }
        qemu_img(&directory, &["check", "image"]);
        qemu_img(
            &directory,
            &["convert", "-f", "qcow2", "-O", "raw", "image", "back"],
        );
        assert!(
            bytes_of(&directory.path("back")) == expected,
            "{arguments:?}"
        );
    }
}

#[test]
fn an_image_with_a_snapshot_is_written_without_harm_to_it() {
    let directory = TestDirectory::new();
    let data = pattern(1 << 20, 11);
    directory.file("raw", &data);
    let made = qemu_img(
        &directory,
        &["convert", "-f", "raw", "-O", "qcow2", "raw", "image"],
    ) && qemu_img(&directory, &["snapshot", "-c", "before", "image"]);
    if !made {
        return;
    }
    let disk = Qcow2Disk::open(&directory.path("image"), false).unwrap();
    disk.write_at(&[1; 70_000], 0).unwrap();
    drop(disk);
    qemu_img(&directory, &["check", "image"]);
    qemu_img(&directory, &["snapshot", "-a", "before", "image"]);
    let disk = Qcow2Disk::open(&directory.path("image"), true).unwrap();
    assert!(read_all(&disk) == data);
}

#[test]
fn backing_files_beside_the_image_are_followed() {
    let directory = TestDirectory::new();
    let data = pattern(1 << 20, 3);
    directory.file("base", &data);
    let path = with_backing(&directory, "top", "base");
    let disk = Qcow2Disk::open(&path, false).unwrap();
    assert!(read_all(&disk) == data);
    disk.write_at(&[0xcc; 512], 4096).unwrap();
    drop(disk);
    assert!(
        bytes_of(&directory.path("base")) == data,
        "the backing file was written"
    );
    let all = read_all(&Qcow2Disk::open(&path, true).unwrap());
    assert_eq!(all[4096..4608], [0xcc; 512]);
    assert!(all[4608..] == data[4608..]);
}

#[test]
fn backing_files_elsewhere_are_refused() {
    let directory = TestDirectory::new();
    for (number, name) in ["/etc/passwd", "../x", "a/b", "..", ".", "json:{}/x"]
        .iter()
        .enumerate()
    {
        let path = with_backing(&directory, &format!("top{number}"), name);
        let error = open_error(&path);
        assert!(
            error.contains("only a file in its own directory"),
            "{error}"
        );
    }
    let path = with_backing(&directory, "top", "none");
    assert!(matches!(
        Qcow2Disk::open(&path, true),
        Err(BlockError::Missing { .. })
    ));
}

#[test]
fn chains_end() {
    let directory = TestDirectory::new();
    let own = with_backing(&directory, "own", "own");
    assert!(matches!(
        Qcow2Disk::open(&own, true),
        Err(BlockError::ChainTooLong { .. })
    ));
    let first = with_backing(&directory, "first", "second");
    with_backing(&directory, "second", "first");
    assert!(matches!(
        Qcow2Disk::open(&first, true),
        Err(BlockError::ChainTooLong { .. })
    ));
    let long = with_backing(&directory, "image0", "image1");
    for number in 1..34 {
        with_backing(
            &directory,
            &format!("image{number}"),
            &format!("image{}", number + 1),
        );
    }
    directory.file("image34", &[0; 512]);
    assert!(matches!(
        Qcow2Disk::open(&long, true),
        Err(BlockError::ChainTooLong { .. })
    ));
    Qcow2Disk::open(&directory.path("image2"), true).expect("32 backing files");
}

#[test]
fn wild_headers_are_refused_in_a_sentence() {
    let cases: &[(usize, &[u8], &str)] = &[
        (4, &[0, 0, 0, 9], "version 9"),
        (20, &[0, 0, 0, 8], "clusters of 2^8"),
        (20, &[0, 0, 0, 63], "clusters of 2^63"),
        (24, &[0x7f; 8], "more than its L1 table covers"),
        (24, &[0xff; 8], "more than its L1 table covers"),
        (32, &[0, 0, 0, 1], "decryption"),
        (36, &[0xff; 4], "L1 table of 34359738360 bytes"),
        (36, &[0, 1, 0, 0], "L1 table"),
        (36, &[0, 0, 0, 0], "more than its L1 table covers"),
        (40, &[0xff; 8], "L1 table"),
        (
            40,
            &[0, 0, 0, 0x7f, 0, 0, 0, 0],
            "L1 table at 0x7f00000000 lies outside",
        ),
        (
            48,
            &[0, 0, 0, 0x7f, 0, 0, 0, 0],
            "refcount table at 0x7f00000000 lies outside",
        ),
        (48, &[0, 0, 0, 0, 0, 0, 0, 1], "does not begin at a cluster"),
        (56, &[0xff; 4], "refcount table"),
        (56, &[0; 4], "no refcount table"),
        (60, &[0, 0, 0, 1, 0x7f], "snapshot table"),
        (79, &[4], "external data file"),
        (79, &[2], "repair"),
        (79, &[16], "extended L2"),
        (72, &[0x80], "unknown features"),
        (96, &[0, 0, 0, 9], "reference counts of 2^9"),
        (100, &[0, 0, 0, 8], "header of 8 bytes"),
        (100, &[0xff; 4], "header of 4294967295 bytes"),
        (112, &[1, 2, 3, 4, 0xff, 0xff, 0xff, 0xff], "extension"),
        (104, &[2], "type of compression 2"),
    ];
    for (at, bytes, expected) in cases {
        let directory = TestDirectory::new();
        let path = empty_qcow2(&directory, "disk");
        patch(&path, *at, bytes);
        let error = open_error(&path);
        assert!(error.contains(expected), "{at}: {error}");
        assert!(error.contains("disk image"), "{error}");
    }
}

#[test]
fn wild_table_entries_are_errors_of_a_read_and_no_more() {
    let directory = TestDirectory::new();
    let path = empty_qcow2(&directory, "disk");
    let disk = Qcow2Disk::open(&path, false).unwrap();
    disk.write_at(&[1; 512], 0).unwrap();
    drop(disk);
    let image = bytes_of(&path);
    let l1 = u64::from_be_bytes(image[40..48].try_into().unwrap()) as usize;
    let l2 = u64::from_be_bytes(image[l1..l1 + 8].try_into().unwrap()) & 0x00ff_ffff_ffff_fe00;
    for entry in [
        u64::MAX,
        1 << 63 | 0x7f00_0000_0000,
        1 << 62 | 0x1234,
        0x8000_0000_0000_0200,
    ] {
        let path = directory.file("wild", &image);
        patch(&path, l2 as usize, &entry.to_be_bytes());
        let disk = Qcow2Disk::open(&path, false).unwrap();
        let _ = disk.read_at(&mut [0; 512], 0);
        let _ = disk.write_at(&[2; 512], 0);
        let _ = disk.discard(0, 65_536);
        drop(disk);
    }
    let path = directory.file("wild", &image);
    patch(&path, l1, &(1u64 << 63 | 0x7f00_0000_0000).to_be_bytes());
    assert!(open_error(&path).contains("L1 entry 0"));
}

/// What a missing block would count is free; that it is not is found before anything is written there.
#[test]
fn holes_in_reference_counts_destroy_no_tables() {
    let directory = TestDirectory::new();
    let path = empty_qcow2(&directory, "disk");
    let image = bytes_of(&path);
    let table = u64::from_be_bytes(image[48..56].try_into().unwrap()) as usize;
    let first = u64::from_be_bytes(image[table..table + 8].try_into().unwrap());
    for (entries, complaint) in [
        ([0, 0], "no reference counts"),
        ([first, 1 << 58], "outside the file"),
        ([first + 512, 0], "outside the file"),
    ] {
        for (index, entry) in entries.into_iter().enumerate() {
            patch(&path, table + index * 8, &u64::to_be_bytes(entry));
        }
        let error = Qcow2Disk::open(&path, false).expect_err("opened");
        assert!(error.to_string().contains(complaint), "{error}");
    }
    patch(&path, table, &[0; 8]);
    patch(&path, table + 8, &first.to_be_bytes());
    let disk = Qcow2Disk::open(&path, false).unwrap();
    let error = disk.write_at(&[1; 512], 0).unwrap_err();
    assert!(error.to_string().contains("counted as free"), "{error}");
    disk.check(Repair::All).unwrap();
    disk.write_at(&[1; 512], 0).unwrap();
    assert_eq!(disk.check(Repair::Nothing).unwrap().errors, 0);
}

#[test]
fn truncated_images_are_refused_or_read() {
    let directory = TestDirectory::new();
    let path = empty_qcow2(&directory, "disk");
    let disk = Qcow2Disk::open(&path, false).unwrap();
    disk.write_at(&[1; 512], 0).unwrap();
    drop(disk);
    let image = bytes_of(&path);
    for len in (0..image.len()).step_by(1009).chain(0..300) {
        let _ = check_qcow2(&image[..len]);
    }
}

#[test]
fn damaged_images_do_no_harm() {
    let directory = TestDirectory::new();
    let path = empty_qcow2(&directory, "disk");
    let disk = Qcow2Disk::open(&path, false).unwrap();
    for cluster in 0..10u64 {
        disk.write_at(&[1; 512], cluster * 65_536).unwrap();
    }
    drop(disk);
    let image = bytes_of(&path);
    let random = pattern(8 * 600, 77);
    let mut opened = 0;
    for word in random.chunks_exact(8) {
        let word = u64::from_le_bytes(word.try_into().unwrap());
        // Metadata: the header, or the first entries of some cluster.
        let at = if word & 1 == 0 {
            (word >> 8) as usize % 112
        } else {
            (word >> 8) as usize % (image.len() / 65_536) * 65_536 + (word >> 32) as usize % 80
        };
        let mut bad = image.clone();
        if let Some(byte) = bad.get_mut(at) {
            *byte = (word >> 56) as u8;
        }
        opened += u32::from(check_qcow2(&bad).is_ok());
    }
    assert!(opened > 0);
}
