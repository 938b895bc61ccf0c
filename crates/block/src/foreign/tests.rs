#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use crate::testing::{TestDirectory, bytes_of, pattern, qemu_img, read_all};
use crate::{BlockError, DiskOptions, Format, Trust, check_foreign, open};

/// 5 MiB with a hole of 2 MiB and zeros in it.
fn content() -> Vec<u8> {
    let mut data = pattern(5 << 20, 9);
    data[2 << 20..4 << 20].fill(0);
    data[(4 << 20) + 512..(4 << 20) + 70_000].fill(0);
    data
}

#[test]
fn what_qemu_img_writes_is_read() {
    let directory = TestDirectory::new();
    let data = content();
    directory.file("raw", &data);
    for (format, options) in [
        ("vdi", ""),
        ("vdi", "static=on"),
        ("vhdx", ""),
        ("vhdx", "subformat=fixed"),
        ("vhdx", "block_size=1M"),
        ("vpc", "force_size=on"),
        ("vpc", "subformat=fixed,force_size=on"),
        ("vmdk", ""),
        ("vmdk", "subformat=streamOptimized"),
        ("vmdk", "subformat=monolithicFlat"),
        ("vmdk", "subformat=twoGbMaxExtentSparse"),
        ("vmdk", "subformat=twoGbMaxExtentFlat"),
    ] {
        let mut arguments = vec!["convert", "-f", "raw", "-O", format];
        if !options.is_empty() {
            arguments.extend(["-o", options]);
        }
        arguments.extend(["raw", "image"]);
        if !qemu_img(&directory, &arguments) {
            return;
        }
        let path = directory.path("image");
        let disk = open(&DiskOptions {
            path: path.clone(),
            format: Format::named(format).unwrap(),
            read_only: true,
            ..DiskOptions::default()
        });
        let disk = disk.unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        assert!(read_all(&*disk) == data, "{arguments:?}");
        let mut at = 0;
        let mut known = 0;
        while at < disk.len() {
            let (extent, len) = disk.extent(at, disk.len() - at).unwrap();
            if extent != crate::Extent::Data {
                let end = (at + len) as usize;
                assert!(data[at as usize..end].iter().all(|&byte| byte == 0));
                known += len;
            }
            at += len;
        }
        // By default a vhdx has blocks of 8 MiB, none of which is empty here.
        let whole = ["fixed", "static", "Flat"]
            .iter()
            .any(|it| options.contains(it));
        let flat = whole || (format == "vhdx" && options.is_empty());
        assert!(flat || known > 0, "{arguments:?}: no hole was found");
    }
}

#[test]
fn extents_elsewhere_are_refused() {
    let directory = TestDirectory::new();
    let descriptor = |name: &str| {
        format!("# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\nRW 8 FLAT \"{name}\" 0\n")
    };
    let secret = directory.file("secret", &[7; 4096]);
    for name in ["/etc/passwd", "../secret", secret.to_str().unwrap()] {
        let path = directory.file("image", descriptor(name).as_bytes());
        let options = DiskOptions {
            path,
            read_only: true,
            ..DiskOptions::default()
        };
        let error = open(&options).unwrap_err();
        assert!(
            matches!(error, BlockError::BackingElsewhere { .. }),
            "{error}"
        );
    }
    let trusted = DiskOptions {
        path: directory.path("image"),
        read_only: true,
        trust: Trust::Anywhere,
        ..DiskOptions::default()
    };
    assert_eq!(read_all(&*open(&trusted).unwrap()), [7; 4096]);
    let own = directory.file("image", descriptor("image").as_bytes());
    let options = DiskOptions {
        path: own,
        read_only: true,
        ..DiskOptions::default()
    };
    assert!(matches!(
        open(&options),
        Err(BlockError::ChainTooLong { .. })
    ));
}

#[test]
fn damaged_images_do_no_harm() {
    let directory = TestDirectory::new();
    directory.file("raw", &content());
    for format in ["vdi", "vhdx", "vpc", "vmdk"] {
        let arguments = ["convert", "-f", "raw", "-O", format, "raw", "image"];
        if !qemu_img(&directory, &arguments) {
            return;
        }
        let image = bytes_of(&directory.path("image"));
        let kind = Format::named(format).unwrap();
        check_foreign(&image, kind).unwrap();
        for word in pattern(8 * 150, 3).chunks_exact(8) {
            let mut bad = image.clone();
            let at = (usize::from(word[0]) << 8 | usize::from(word[1])) % bad.len().min(1 << 20);
            bad[at % 2048] = word[2];
            bad[at] ^= word[3];
            let _ = check_foreign(&bad, kind);
            let _ = check_foreign(&bad[..at], kind);
        }
    }
}

#[test]
fn a_stream_of_ours_is_read_by_us_and_by_qemu_img() {
    let directory = TestDirectory::new();
    // The end of no grain, more than a table, and tables that are not there.
    for (name, size) in [("one", 70_144u64), ("gaps", 200 << 20), ("none", 1 << 20)] {
        let raw = directory.file(&format!("{name}.raw"), &[]);
        let file = std::fs::File::options().write(true).open(&raw).unwrap();
        file.set_len(size).unwrap();
        if name != "none" {
            let data = content();
            let data = &data[..data.len().min(size as usize)];
            for at in [0, size - data.len() as u64] {
                std::os::unix::fs::FileExt::write_all_at(&file, data, at).unwrap();
            }
        }
        let source = open(&DiskOptions {
            path: raw,
            format: Format::Raw,
            read_only: true,
            ..DiskOptions::default()
        })
        .unwrap();
        let path = directory.path(&format!("{name}.vmdk"));
        let new = crate::image::NewImage {
            format: Format::Vmdk,
            ..crate::image::NewImage::default()
        };
        crate::convert(&*source, &path, &new, false, |_, _| true).unwrap();
        let options = DiskOptions {
            path,
            read_only: true,
            ..DiskOptions::default()
        };
        let found = open(&options).unwrap();
        assert!(read_all(&*found) == read_all(&*source), "{name}");
        let (image, raw) = (format!("{name}.vmdk"), format!("{name}.raw"));
        let compare = ["compare", "-f", "vmdk", "-F", "raw", &image, &raw];
        qemu_img(&directory, &compare);
        qemu_img(&directory, &["check", "-f", "vmdk", &image]);
    }
}
