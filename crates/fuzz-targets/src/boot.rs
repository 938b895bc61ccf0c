//! Kernels by every protocol, with initial RAM disks and command lines.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use machine::boot::{self, BootSource, BzImage, Elf, Multiboot};
use machine::layout;
use memory::{Gpa, GuestMemory};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::Input;

const MEMORY: u64 = 16 << 20;

/// A file without a place in the file system, and its name all the same.
fn file(bytes: &[u8]) -> (File, PathBuf) {
    let fd = memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("a memfd");
    let file = File::from(fd);
    file.write_all_at(bytes, 0).expect("memory");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    (file, PathBuf::from(path))
}

/// The file's first bytes decide about the surroundings, the rest is the kernel.
pub(crate) fn kernels(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = input.byte();
    let command_line = "x".repeat(usize::from(input.byte()) << (choice & 7));
    let initrd_len = usize::from(input.u16()) << (choice >> 4 & 7);
    let kernel = input.rest();
    let _ = (
        boot::probe(kernel),
        BzImage::parse(kernel).map(|image| image.load_address(MEMORY)),
        Elf::parse(kernel).map(|elf| elf.end()),
        Multiboot::parse(kernel).map(|_| ()),
    );
    let memory = GuestMemory::new(&layout::ram_ranges(MEMORY)).expect("memory");
    let (_kernel, kernel_path) = file(kernel);
    let (_initrd, initrd_path) = file(&vec![0x30; initrd_len]);
    let parts: Vec<PathBuf> = (choice & 8 != 0)
        .then_some(initrd_path)
        .into_iter()
        .collect();
    if let Ok(source) = BootSource::open(&kernel_path, &parts) {
        let frame_buffer = (choice & 4 == 0).then_some(boot::FrameBuffer {
            base: Gpa(0xc000_0000),
            width: 1024,
            height: 768,
        });
        let given = boot::Given {
            seed: &[7; 32],
            long_mode: choice & 1 == 0,
            frame_buffer,
        };
        let _ = boot::load(&memory, &source, &command_line, &given);
    }
}

fn put<const N: usize>(file: &mut [u8], at: usize, bytes: [u8; N]) {
    file[at..at + N].copy_from_slice(&bytes);
}

fn bzimage() -> Vec<u8> {
    let mut file = vec![0x90; 0x1400];
    file[..0x400].fill(0);
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
    put(&mut file, 0x258, 0x40_0000u64.to_le_bytes());
    put(&mut file, 0x260, 0x1_0000u32.to_le_bytes());
    file
}

fn elf() -> Vec<u8> {
    let mut file = vec![0; 0x200];
    put(&mut file, 0, *b"\x7fELF\x02\x01\x01");
    put(&mut file, 18, 62u16.to_le_bytes());
    put(&mut file, 24, 0x20_0004u64.to_le_bytes());
    put(&mut file, 32, 64u64.to_le_bytes());
    put(&mut file, 54, 56u16.to_le_bytes());
    put(&mut file, 56, 2u16.to_le_bytes());
    put(&mut file, 64, 1u32.to_le_bytes());
    let load = [
        (72, 0x100),
        (80, 0x20_0000),
        (88, 0x20_0000),
        (96, 16),
        (104, 64),
    ];
    let note = [(128, 0x180), (152, 0x18), (160, 0x18), (168, 4)];
    for (at, value) in load.into_iter().chain(note) {
        put(&mut file, at, u64::to_le_bytes(value));
    }
    put(&mut file, 120, 4u32.to_le_bytes());
    for (at, value) in [(0x180, 4u32), (0x184, 8), (0x188, 18)] {
        put(&mut file, at, value.to_le_bytes());
    }
    put(&mut file, 0x18c, *b"Xen\0");
    put(&mut file, 0x190, 0x20_0008u64.to_le_bytes());
    file
}

fn multiboot() -> Vec<u8> {
    const MAGIC: u32 = 0x1bad_b002;
    const FLAGS: u32 = 1 << 16 | 3;
    const LOAD: u32 = 0x10_0000;
    let sum = 0u32.wrapping_sub(MAGIC.wrapping_add(FLAGS));
    let fields = [MAGIC, FLAGS, sum, LOAD, LOAD, 0, 0, LOAD + 32];
    fields
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .collect()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let kernels = [bzimage(), elf(), multiboot()];
    let head = [0x18, 0x10, 0x00, 0x02];
    kernels.map(|kernel| [&head[..], &kernel].concat()).to_vec()
}
