#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::sync::{Arc, Mutex};

use block::BlockDevice;
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};

use super::{Floppy, FloppyParts, Format};
use crate::Device;
use crate::isa_dma::{DmaChannel, IsaDma};
use crate::ports::locked;
use crate::testing::FakeLine;
use crate::virtio::block::test_disk::MemoryDisk;

const LEN: usize = 1440 << 10;

struct Bench {
    floppy: Floppy,
    dma: Arc<Mutex<IsaDma>>,
    irq: Arc<FakeLine>,
    memory: GuestMemory,
    disk: Arc<MemoryDisk>,
}

fn bench() -> Bench {
    let ram = RamRange {
        base: Gpa(0),
        len: 0x10_0000,
    };
    let memory = GuestMemory::new(&[ram]).unwrap();
    let disk = Arc::new(MemoryDisk::new(LEN));
    for sector in 0..LEN / 512 {
        let mark = (sector as u32).to_le_bytes();
        disk.write_at(&mark, sector as u64 * 512).unwrap();
    }
    let (dma, irq) = (Arc::new(Mutex::new(IsaDma::new())), FakeLine::new());
    let parts = FloppyParts {
        irq: Arc::clone(&irq) as _,
        dma: DmaChannel::new(Arc::clone(&dma), 2, memory.clone()),
    };
    let mut floppy = Floppy::new(Some(Arc::clone(&disk) as _), parts);
    // Reset as firmware does it, and hear of all drives.
    floppy.write(2, 1, 0);
    floppy.write(2, 1, 0x1c);
    let mut bench = Bench {
        floppy,
        dma,
        irq,
        memory,
        disk,
    };
    assert!(bench.irq.high());
    for drive in 0..4 {
        assert_eq!(bench.command(&[8]), [0xc0 | drive, 0]);
    }
    bench
}

impl Bench {
    /// Writes a command and reads its whole answer.
    fn command(&mut self, bytes: &[u8]) -> Vec<u8> {
        for byte in bytes {
            assert_eq!(self.floppy.read(4, 1) & 0xc0, 0x80);
            self.floppy.write(5, 1, (*byte).into());
        }
        let mut answer = Vec::new();
        while self.floppy.read(4, 1) & 0x40 != 0 {
            answer.push(self.floppy.read(5, 1) as u8);
        }
        answer
    }

    fn program(&self, mode: u64, at: u64, len: u64) {
        let mut dma = locked(&self.dma);
        let count = len - 1;
        for (port, value) in [
            (0x0a, 6),
            (0x0c, 0),
            (0x04, at & 0xff),
            (0x04, at >> 8 & 0xff),
            (0x05, count & 0xff),
            (0x05, count >> 8),
            (0x0b, mode),
            (0x41, at >> 16),
            (0x0a, 2),
        ] {
            dma.write(port, 1, value);
        }
    }

    fn word(&self, at: u64) -> u32 {
        self.memory.ram().read_obj(GuestAddress(at)).unwrap()
    }
}

#[test]
fn sectors_are_read_over_both_heads() {
    let mut bench = bench();
    assert_eq!(bench.command(&[0x0f, 0, 3]), []);
    assert!(bench.irq.high());
    assert_eq!(bench.command(&[8]), [0x20, 3]);
    bench.program(0x46, 0x8000, 3 * 512);
    let answer = bench.command(&[0xe6, 0, 3, 0, 17, 2, 18, 0x1b, 0xff]);
    assert_eq!(answer, [0, 0, 0, 3, 1, 2, 2]);
    let first = (3 * 2 * 18) + 16;
    let marks = [0x8000, 0x8200, 0x8400].map(|at| bench.word(at));
    assert_eq!(marks, [first, first + 1, first + 2]);
}

#[test]
fn sectors_are_written() {
    let mut bench = bench();
    bench
        .memory
        .ram()
        .write_obj(0x1234_5678u32, GuestAddress(0x8000))
        .unwrap();
    bench.program(0x4a, 0x8000, 512);
    let answer = bench.command(&[0xc5, 4, 0, 1, 2, 2, 18, 0x1b, 0xff]);
    assert_eq!(answer[..3], [4, 0, 0]);
    assert_eq!(
        bench.disk.bytes()[19 * 512..19 * 512 + 4],
        [0x78, 0x56, 0x34, 0x12]
    );
}

#[test]
fn what_is_not_there_is_not_found() {
    let mut bench = bench();
    bench.program(0x46, 0x8000, 512);
    assert_eq!(
        bench.command(&[0x46, 0, 0, 0, 19, 2, 19, 0x1b, 0xff])[..2],
        [0x40, 4]
    );
    assert_eq!(
        bench.command(&[0x46, 1, 0, 0, 1, 2, 18, 0x1b, 0xff])[..2],
        [0x41, 1]
    );
    // The heads are elsewhere.
    assert_eq!(
        bench.command(&[0x46, 0, 5, 0, 1, 2, 18, 0x1b, 0xff])[..2],
        [0x40, 4]
    );
    assert_eq!(bench.command(&[0x1f]), [0x80]);
    assert_eq!(bench.command(&[8]), [0x80]);
}

#[test]
fn an_opened_door_is_told_until_the_heads_move() {
    let mut bench = bench();
    bench.command(&[7, 0]);
    bench.command(&[8]);
    assert_eq!(bench.floppy.read(7, 1), 0);
    bench.floppy.change_disk(None);
    assert_eq!(bench.floppy.read(7, 1), 0x80);
    assert_eq!(bench.command(&[0x4a, 0])[..2], [0x40, 1]);
    bench.floppy.change_disk(Some(Arc::clone(&bench.disk) as _));
    bench.command(&[0x0f, 0, 1]);
    assert_eq!(bench.floppy.read(7, 1), 0);
}

#[test]
fn a_length_is_a_format() {
    assert_eq!(
        Format::of(1440 << 10).map(|format| format.sectors),
        Some(18)
    );
    assert_eq!(
        Format::of(360 << 10).map(|format| format.cylinders),
        Some(40)
    );
    assert_eq!(Format::of(100_000).map(|format| format.sectors), Some(18));
    assert_eq!(Format::of(4 << 20), None);
}
