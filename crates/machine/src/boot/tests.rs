//! Images are made here field by field, then broken field by field.

use std::path::PathBuf;

use memory::{Gpa, GuestMemory};
use vm_memory::{Bytes, GuestAddress};

use super::{
    BootError, BootSource, BzImage, Elf, FrameBuffer, Given, ImageError, ImageKind, Multiboot,
    load, probe,
};
use crate::layout::{MIB, ram_ranges};

fn put<const N: usize>(file: &mut [u8], at: usize, bytes: [u8; N]) {
    file[at..at + N].copy_from_slice(&bytes);
}

fn given(seed: &[u8], long_mode: bool) -> Given<'_> {
    Given {
        seed,
        long_mode,
        frame_buffer: None,
    }
}

/// Protocol 2.15, one setup sector, a kernel of 4096 bytes that uses `init_size`.
fn bzimage(init_size: u32) -> Vec<u8> {
    let mut file = vec![0x90; 1024 + 4096];
    file[..1024].fill(0);
    file[0x1f1] = 1;
    put(&mut file, 0x1f4, 256u32.to_le_bytes());
    put(&mut file, 0x1fe, [0x55, 0xaa, 0xeb, 0x6a]);
    put(&mut file, 0x202, *b"HdrS");
    put(&mut file, 0x206, 0x20fu16.to_le_bytes());
    file[0x211] = 1;
    put(&mut file, 0x214, 0x10_0000u32.to_le_bytes());
    put(&mut file, 0x22c, 0x7fff_ffffu32.to_le_bytes());
    put(&mut file, 0x230, 0x20_0000u32.to_le_bytes());
    file[0x234] = 1;
    put(&mut file, 0x236, 1u16.to_le_bytes());
    put(&mut file, 0x238, 2047u32.to_le_bytes());
    put(&mut file, 0x258, 0x100_0000u64.to_le_bytes());
    put(&mut file, 0x260, init_size.to_le_bytes());
    file
}

/// A 64-bit ELF with one segment of 16 bytes at 2 MiB and, if wanted, a PVH note.
fn elf(pvh: bool) -> Vec<u8> {
    let mut file = vec![0; 0x200];
    put(&mut file, 0, *b"\x7fELF\x02\x01\x01");
    put(&mut file, 16, 2u16.to_le_bytes());
    put(&mut file, 18, 62u16.to_le_bytes());
    put(&mut file, 24, 0x20_0004u64.to_le_bytes());
    put(&mut file, 32, 64u64.to_le_bytes());
    put(&mut file, 54, 56u16.to_le_bytes());
    put(&mut file, 56, 2u16.to_le_bytes());
    put(&mut file, 64, 1u32.to_le_bytes());
    for (at, value) in [
        (72, 0x100),
        (80, 0x20_0000),
        (88, 0x20_0000),
        (96, 16),
        (104, 64),
    ] {
        put(&mut file, at, u64::to_le_bytes(value));
    }
    put(&mut file, 120, if pvh { 4u32 } else { 0 }.to_le_bytes());
    for (at, value) in [(128, 0x180), (152, 0x40), (160, 0x40), (168, 4)] {
        put(&mut file, at, u64::to_le_bytes(value));
    }
    // A note of somebody else first, with a name that needs padding.
    let notes: Vec<u8> = [5u32, 4, 7]
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .collect();
    file[0x180..0x18c].copy_from_slice(&notes);
    put(&mut file, 0x18c, *b"Them\0\0\0\0\xff\xff\xff\xff");
    let ours: Vec<u8> = [4u32, 8, 18]
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .collect();
    file[0x198..0x1a4].copy_from_slice(&ours);
    put(&mut file, 0x1a4, *b"Xen\0");
    put(&mut file, 0x1a8, 0x20_0008u64.to_le_bytes());
    file
}

fn multiboot(flags: u32) -> Vec<u8> {
    let sum = 0u32.wrapping_sub(0x1bad_b002u32.wrapping_add(flags));
    let fields = [
        0,
        0x1bad_b002,
        flags,
        sum,
        0x10_0004,
        0x10_0000,
        0,
        0x10_4000,
        0x10_0024,
    ];
    let mut file: Vec<u8> = fields
        .iter()
        .flat_map(|field: &u32| field.to_le_bytes())
        .collect();
    file.extend([0xf4; 28]);
    file
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("innkeeper-boot-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a writable directory");
        Folder(path)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("a writable directory");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn memory(len: u64) -> GuestMemory {
    GuestMemory::new(&ram_ranges(len)).expect("memory")
}

/// Boots a kernel file with one initial RAM disk in `ram` bytes of memory.
fn boot(
    name: &str,
    kernel: &[u8],
    initrd: &[u8],
    ram: u64,
) -> Result<(x86::CpuState, GuestMemory), BootError> {
    let folder = Folder::new(name);
    let kernel = folder.file("kernel", kernel);
    let initrd = match initrd {
        [] => Vec::new(),
        content => vec![folder.file("initrd", content)],
    };
    let source = BootSource::open(&kernel, &initrd)?;
    let memory = memory(ram);
    Ok((
        load(&memory, &source, "a=b", &given(&[7; 32], true))?,
        memory,
    ))
}

#[test]
fn the_head_of_a_file_tells_a_multiboot_kernel() {
    let mut kernel = vec![0; super::PROBE_LEN];
    put(&mut kernel, 0x100, 0x1bad_b002u32.to_le_bytes());
    put(
        &mut kernel,
        0x108,
        0x1bad_b002u32.wrapping_neg().to_le_bytes(),
    );
    assert!(super::is_multiboot(&kernel));
    // A bzImage that has the header too is booted as a bzImage.
    put(&mut kernel, 0x1fe, [0x55, 0xaa]);
    put(&mut kernel, 0x202, *b"HdrS");
    assert!(!super::is_multiboot(&kernel));
    assert!(!super::is_multiboot(b""));
}

#[test]
fn the_kind_is_in_the_bytes() {
    assert_eq!(probe(&bzimage(8192)), Ok(ImageKind::BzImage));
    assert_eq!(probe(&elf(true)), Ok(ImageKind::Pvh));
    assert_eq!(probe(&multiboot(1 << 16)), Ok(ImageKind::Multiboot));
    assert!(matches!(
        probe(&elf(false)),
        Err(ImageError::Damaged { .. })
    ));
    for nothing in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", &[0; 8192]] {
        assert!(probe(nothing).is_err());
    }
}

#[test]
fn a_bzimage_starts_in_long_mode_at_its_own_address() {
    let (cpu, memory) = boot("bz", &bzimage(8192), b"abc", 64 * MIB).expect("boots");
    assert_eq!(cpu.rip, 0x100_0200);
    assert_eq!(cpu.gpr[6], 0x7000);
    let field = |at: u64| {
        memory
            .ram()
            .read_obj::<u32>(GuestAddress(0x7000 + at))
            .expect("RAM")
    };
    assert_eq!(field(0x214), 0x100_0000);
    assert_eq!(field(0x21c), 4, "padded");
    let initrd = u64::from(field(0x218));
    assert_eq!(initrd, 64 * MIB - 4096);
    let mut content = [0xff; 4];
    memory
        .ram()
        .read_slice(&mut content, GuestAddress(initrd))
        .expect("RAM");
    assert_eq!(&content, b"abc\0");
    let mut text = [0; 4];
    let at = GuestAddress(u64::from(field(0x228)));
    memory.ram().read_slice(&mut text, at).expect("RAM");
    assert_eq!(&text, b"a=b\0");
}

#[test]
fn a_relocatable_kernel_goes_lower_where_memory_is_short() {
    let image = bzimage(8192);
    let image = BzImage::parse(&image).expect("a bzImage");
    assert_eq!(image.load_address(32 * MIB), Ok(16 * MIB));
    assert_eq!(image.load_address(8 * MIB), Ok(2 * MIB));
    assert!(image.load_address(2 * MIB).is_err());
}

#[test]
fn truncated_files_say_so() {
    let whole = bzimage(8192);
    for len in [0x260, 1024, 2000, whole.len() - 16] {
        let error = BzImage::parse(&whole[..len]).expect_err("cut off");
        assert!(
            matches!(error, ImageError::Truncated { .. }),
            "{len}: {error}"
        );
    }
    let whole = elf(true);
    for len in [8, 60, 100, 0x108] {
        let error = Elf::parse(&whole[..len]).expect_err("cut off");
        assert!(
            matches!(error, ImageError::Truncated { .. }),
            "{len}: {error}"
        );
    }
}

#[test]
fn pvh_notes_are_found_behind_others() {
    let file = elf(true);
    let parsed = Elf::parse(&file).expect("an ELF");
    assert_eq!(parsed.pvh_entry, Some(0x20_0008));
    assert_eq!(parsed.entry, 0x20_0004);
    let (cpu, memory) = boot("pvh", &file, b"", 16 * MIB).expect("boots");
    assert_eq!(cpu.rip, 0x20_0008);
    let magic: u32 = memory
        .ram()
        .read_obj(GuestAddress(cpu.gpr[3]))
        .expect("RAM");
    assert_eq!(magic, 0x336e_c578);
}

#[test]
fn wild_program_headers_are_refused() {
    let broken = |at: usize, value: u64| {
        let mut file = elf(true);
        put(&mut file, at, value.to_le_bytes());
        boot("wild", &file, b"", 16 * MIB)
            .map(|_| ())
            .expect_err("nonsense")
    };
    for (at, value) in [
        (72, u64::MAX),
        (72, 0x1f8),
        (88, u64::MAX - 8),
        (88, 1 << 40),
        (96, u64::MAX),
        (104, u64::MAX),
        (104, 8),
        (104, 1 << 45),
        (128, u64::MAX),
        (32, u64::MAX - 4),
    ] {
        let error = broken(at, value);
        assert!(
            matches!(error, BootError::Image { .. }),
            "{at} {value:#x}: {error}"
        );
    }
}

#[test]
fn every_broken_byte_is_survived() {
    for whole in [bzimage(8192), elf(true), multiboot(1 << 16)] {
        let memory = memory(4 * MIB);
        for at in 0..whole.len().min(0x290) {
            for value in [0, 0x7f, 0xff] {
                let mut file = whole.clone();
                file[at] = value;
                let _ = probe(&file);
                let _ = BzImage::parse(&file).map(|image| image.load_address(memory_end(&memory)));
                let _ = Elf::parse(&file);
                let _ = Multiboot::parse(&file);
            }
        }
    }
}

fn memory_end(memory: &GuestMemory) -> u64 {
    crate::layout::low_ram_end(&memory.ranges()).0
}

#[test]
fn multiboot_gets_its_information() {
    let (cpu, memory) = boot("multi", &multiboot(1 << 16), b"module", 16 * MIB).expect("boots");
    assert_eq!(cpu.rip, 0x10_0024);
    assert_eq!(cpu.gpr[0], 0x2bad_b002);
    let field = |at: u64| memory.ram().read_obj::<u32>(GuestAddress(at)).expect("RAM");
    let info = cpu.gpr[3];
    assert_eq!(field(info + 8), 15 * 1024, "KiB above 1 MiB");
    assert_eq!(field(info + 20), 1, "modules");
    let list = u64::from(field(info + 24));
    let (start, end) = (field(list), field(list + 4));
    assert_eq!(end - start, 6);
    assert!(start >= 0x10_4000, "behind the bss");
    let mut text = [0; 3];
    let at = u64::from(field(info + 16));
    let mut words = vec![0; 300];
    memory
        .ram()
        .read_slice(&mut words, GuestAddress(at))
        .expect("RAM");
    let line = words.split(|&byte| byte == 0).next().expect("a line");
    text.copy_from_slice(&line[line.len() - 3..]);
    assert_eq!(&text, b"a=b");
}

#[test]
fn kernels_without_a_32_bit_entry_are_refused() {
    let mut file = bzimage(0);
    put(&mut file, 0x206, 0x207u16.to_le_bytes());
    assert!(BzImage::parse(&file).is_ok());
    put(&mut file, 0x214, 0u32.to_le_bytes());
    let error = BzImage::parse(&file).map(|_| ()).expect_err("real mode");
    assert!(error.to_string().contains("begins in real mode"), "{error}");
}

#[test]
fn unknown_multiboot_demands_are_refused() {
    let error = Multiboot::parse(&multiboot(1 << 16 | 1 << 9))
        .map(|_| ())
        .expect_err("unknown");
    assert!(matches!(error, ImageError::Unsupported { .. }));
    // Not an ELF file, and no addresses in the header.
    assert!(Multiboot::parse(&multiboot(0)).is_err());
}

#[test]
fn what_does_not_fit_names_its_file() {
    let initrd = vec![1; 3 << 20];
    let error = boot("fit", &bzimage(8192), &initrd, 4 * MIB)
        .map(|_| ())
        .expect_err("full");
    assert!(error.to_string().ends_with("initrd"), "{error}");
    let error = boot("small", &bzimage(64 << 20), b"", 32 * MIB)
        .map(|_| ())
        .expect_err("full");
    assert!(error.to_string().ends_with("kernel"), "{error}");
    let error = boot("tiny", &bzimage(8192), b"", MIB)
        .map(|_| ())
        .expect_err("no memory");
    assert!(matches!(error, BootError::Image { .. }));
}

#[test]
fn files_that_are_none_are_refused() {
    let folder = Folder::new("none");
    let good = folder.file("good", b"x");
    let empty = folder.file("empty", b"");
    let open = |kernel: &PathBuf, initrd: &PathBuf| {
        BootSource::open(kernel, std::slice::from_ref(initrd))
            .map(|_| ())
            .expect_err("no file")
    };
    assert!(matches!(open(&folder.0, &good), BootError::NotAFile { .. }));
    assert!(matches!(open(&good, &folder.0), BootError::NotAFile { .. }));
    assert!(matches!(open(&empty, &good), BootError::Empty { .. }));
    let missing = folder.0.join("missing");
    assert!(matches!(open(&good, &missing), BootError::Open { .. }));
    assert!(open(&good, &missing).to_string().ends_with("missing"));
}

#[test]
fn command_lines_are_bounded() {
    let folder = Folder::new("line");
    let kernel = folder.file("kernel", &bzimage(8192));
    let source = BootSource::open(&kernel, &[]).expect("a file");
    let memory = memory(64 * MIB);
    let with = |text: &str| load(&memory, &source, text, &given(&[], true)).map(|_| ());
    with(&"x".repeat(2047)).expect("fits");
    assert!(with(&"x".repeat(2048)).is_err());
    assert!(with("a\0b").is_err());
}

#[test]
fn a_32_bit_processor_gets_the_32_bit_entry() {
    let folder = Folder::new("short");
    let kernel = folder.file("kernel", &bzimage(8192));
    let source = BootSource::open(&kernel, &[]).expect("a file");
    let cpu = load(&memory(64 * MIB), &source, "", &given(&[], false)).expect("boots");
    assert_eq!((cpu.rip, cpu.cr0 >> 31, cpu.efer), (0x100_0000, 0, 0));
    assert_eq!(cpu.segments[1].base, 0);
    assert_eq!(Gpa(cpu.gpr[6]), Gpa(0x7000));
}

const SCREEN: FrameBuffer = FrameBuffer {
    base: Gpa(0xc000_0000),
    width: 1024,
    height: 768,
};

/// Boots a kernel on a machine with a screen.
fn boot_with_screen(name: &str, kernel: &[u8]) -> (x86::CpuState, GuestMemory) {
    let folder = Folder::new(name);
    let kernel = folder.file("kernel", kernel);
    let source = BootSource::open(&kernel, &[]).expect("a file");
    let memory = memory(64 * MIB);
    let given = Given {
        frame_buffer: Some(SCREEN),
        ..given(&[7; 32], true)
    };
    let cpu = load(&memory, &source, "a=b", &given).expect("boots");
    (cpu, memory)
}

fn check_screen(cpu: &x86::CpuState, memory: &GuestMemory) {
    let mut page = vec![0u8; 0x1000];
    let at = GuestAddress(cpu.gpr[6]);
    memory.ram().read_slice(&mut page, at).expect("RAM");
    assert_eq!(page[0x0f], 0x70);
    assert_eq!(page[0x12..0x1c], [0, 4, 0, 3, 32, 0, 0, 0, 0, 0xc0]);
    assert_eq!(page[0x24..0x26], [0, 16], "bytes of a row");
    assert_eq!(page[0x202..0x206], *b"HdrS");
}

#[test]
fn a_packed_kernel_is_told_of_the_screen() {
    let (cpu, memory) = boot_with_screen("screen", &bzimage(8192));
    check_screen(&cpu, &memory);
}

#[test]
fn an_unpacked_linux_has_its_own_entry_where_there_is_a_screen() {
    let mut file = elf(true);
    // After the entry's, a note that says whose kernel it is.
    put(&mut file, 152, 0x58u64.to_le_bytes());
    put(&mut file, 160, 0x58u64.to_le_bytes());
    let note = [4u32, 6, 6].map(u32::to_le_bytes).concat();
    file[0x1b0..0x1bc].copy_from_slice(&note);
    put(&mut file, 0x1bc, *b"Xen\0linux\0");
    let parsed = Elf::parse(&file).expect("an ELF file");
    assert!(parsed.linux);
    let (cpu, memory) = boot_with_screen("linux", &file);
    assert_eq!((cpu.rip, cpu.cr0 >> 31), (parsed.entry, 1));
    check_screen(&cpu, &memory);
    // Others keep the entry that their note names.
    let (cpu, _) = boot_with_screen("other", &elf(true));
    assert_eq!((cpu.rip, cpu.cr0 >> 31), (0x20_0008, 0));
}
