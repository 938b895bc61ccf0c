#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::num::NonZeroU64;
use std::sync::Arc;

use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};

use super::{DOORBELLS, MSIX_TABLE, Nvme};
use crate::Pace;
use crate::pci::PciFunction;
use crate::testing::{FakeClock, FakeLine, FakeMsi, FakeTimer};
use crate::virtio::block::test_disk::MemoryDisk;
use crate::virtio::{RateGate, RateLimit};

const RAM: u64 = 0x10_0000;
const ADMIN: u64 = 0x1_0000;
const ADMIN_ANSWERS: u64 = 0x1_1000;
const QUEUE: u64 = 0x1_2000;
const ANSWERS: u64 = 0x1_3000;
const DATA: u64 = 0x2_0000;
const ENTRIES: u64 = 16;

struct Bench {
    nvme: Nvme,
    memory: GuestMemory,
    disk: Arc<MemoryDisk>,
    line: Arc<FakeLine>,
    msi: Arc<FakeMsi>,
    /// Commands given to the admin queue and to queue 1.
    given: [u64; 2],
}

fn bench() -> Bench {
    let ram = RamRange {
        base: Gpa(0),
        len: RAM,
    };
    let memory = GuestMemory::new(&[ram]).unwrap();
    let disk = Arc::new(MemoryDisk::new(0x10_0000));
    let (line, msi) = (FakeLine::new(), FakeMsi::new());
    let sink = Arc::clone(&msi) as _;
    let wire = Arc::clone(&line) as _;
    let mut nvme = Nvme::new(Arc::clone(&disk) as _, "abc", memory.clone(), sink, wire);
    nvme.config_write(0x04, 2, 6);
    nvme.bar_write(0, 0x24, 4, (ENTRIES - 1) << 16 | (ENTRIES - 1));
    nvme.bar_write(0, 0x28, 8, ADMIN);
    nvme.bar_write(0, 0x30, 4, ADMIN_ANSWERS);
    nvme.bar_write(0, 0x34, 4, 0);
    nvme.bar_write(0, 0x14, 4, 0x0046_0001);
    assert_eq!(nvme.bar_read(0, 0x1c, 4), 1);
    Bench {
        nvme,
        memory,
        disk,
        line,
        msi,
        given: [0; 2],
    }
}

/// Opcode, namespace, the two entries for data, and doublewords from 10 on.
fn command(opcode: u8, namespace: u32, prp: [u64; 2], words: &[u32]) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = opcode;
    bytes[2] = 0x77;
    bytes[4..8].copy_from_slice(&namespace.to_le_bytes());
    bytes[24..32].copy_from_slice(&prp[0].to_le_bytes());
    bytes[32..40].copy_from_slice(&prp[1].to_le_bytes());
    for (index, word) in words.iter().enumerate() {
        bytes[40 + 4 * index..][..4].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

impl Bench {
    /// Puts a command into queue 0 or 1 and answers what came of it: status and result.
    fn run(&mut self, queue: usize, command: &[u8; 64]) -> (u16, u32) {
        let (base, answers) = [(ADMIN, ADMIN_ANSWERS), (QUEUE, ANSWERS)][queue];
        let count = self.given[queue];
        self.given[queue] += 1;
        let at = base + count % ENTRIES * 64;
        self.memory
            .ram()
            .write_slice(command, GuestAddress(at))
            .unwrap();
        let bell = DOORBELLS + queue as u64 * 8;
        self.nvme.bar_write(0, bell, 4, (count + 1) % ENTRIES);
        let at = GuestAddress(answers + count % ENTRIES * 16);
        let answer: [u32; 4] = self.memory.ram().read_obj(at).unwrap();
        assert_eq!(answer[3] & 0xffff, 0x77);
        let phase = answer[3] >> 16 & 1;
        assert_eq!(u64::from(phase), 1 - count / ENTRIES % 2, "no new answer");
        self.nvme.bar_write(0, bell + 4, 4, (count + 1) % ENTRIES);
        ((answer[3] >> 17) as u16 & 0x3ff, answer[0])
    }

    /// With interrupt `vector` for the answers.
    fn make_queues(&mut self, vector: u32) {
        let size = (ENTRIES as u32 - 1) << 16 | 1;
        let made = self.run(0, &command(5, 0, [ANSWERS, 0], &[size, vector << 16 | 3]));
        assert_eq!(made, (0, 0));
        let made = self.run(0, &command(1, 0, [QUEUE, 0], &[size, 1 << 16 | 1]));
        assert_eq!(made, (0, 0));
    }

    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory
            .ram()
            .read_slice(&mut bytes, GuestAddress(at))
            .unwrap();
        bytes
    }
}

#[test]
fn it_says_what_it_is() {
    let mut bench = bench();
    assert_eq!(bench.run(0, &command(6, 0, [DATA, 0], &[1])), (0, 0));
    let controller = bench.bytes(DATA, 4096);
    assert_eq!(&controller[4..8], b"abc ");
    assert_eq!(&controller[24..38], b"Innkeeper disk");
    assert_eq!(bench.run(0, &command(6, 1, [DATA, 0], &[0])), (0, 0));
    let namespace = bench.bytes(DATA, 4096);
    assert_eq!(namespace[..8], (0x10_0000u64 / 512).to_le_bytes());
    assert_eq!(namespace[130], 9);
    assert_eq!(bench.run(0, &command(6, 2, [DATA, 0], &[0])).0, 0x0b);
    assert_eq!(
        bench.run(0, &command(9, 0, [0, 0], &[7, 0])),
        (0, 0x0003_0003)
    );
    assert_eq!(bench.run(0, &command(0x80, 0, [0, 0], &[])).0, 1);
}

#[test]
fn blocks_are_written_and_read_by_pages_lists_and_both() {
    let mut bench = bench();
    bench.make_queues(1);
    let pattern: Vec<u8> = (0..0x4000u32).map(|index| (index / 7) as u8).collect();
    let ram = bench.memory.ram().clone();
    ram.write_slice(&pattern, GuestAddress(DATA)).unwrap();
    // A page and another.
    let two = command(1, 1, [DATA, DATA + 0x1000], &[8, 0, 15]);
    assert_eq!(bench.run(1, &two), (0, 0));
    assert_eq!(bench.disk.bytes()[8 * 512..][..0x2000], pattern[..0x2000]);
    // A part of a page, and a list that goes on in another page.
    for (at, page) in [(0x3_0ff0u64, DATA + 0x8000), (0x3_0ff8, 0x3_2000)] {
        ram.write_obj(page, GuestAddress(at)).unwrap();
    }
    for (index, page) in [DATA + 0x5000, DATA + 0x6000].into_iter().enumerate() {
        ram.write_obj(page, GuestAddress(0x3_2000 + 8 * index as u64))
            .unwrap();
    }
    let listed = command(2, 1, [DATA + 0x7e00, 0x3_0ff0], &[8, 0, 24]);
    assert_eq!(bench.run(1, &listed), (0, 0));
    assert_eq!(bench.bytes(DATA + 0x7e00, 0x200), pattern[..0x200]);
    assert_eq!(bench.bytes(DATA + 0x8000, 0x1000), pattern[0x200..0x1200]);
    assert_eq!(bench.bytes(DATA + 0x5000, 0xe00), pattern[0x1200..0x2000]);
    assert_eq!(bench.run(1, &command(8, 1, [0, 0], &[8, 0, 0])), (0, 0));
    assert_eq!(bench.disk.bytes()[8 * 512..9 * 512], [0; 512]);
    assert_eq!(bench.disk.bytes()[9 * 512..10 * 512], pattern[512..1024]);
}

#[test]
fn what_cannot_be_done_is_said() {
    let mut bench = bench();
    bench.make_queues(1);
    let wild = 0x7fff_ffff_f000;
    for (bytes, status) in [
        (command(2, 1, [DATA, 0], &[0x10_0000 / 512, 0, 0]), 0x80),
        (command(2, 1, [DATA, 0], &[u32::MAX, u32::MAX, 0]), 0x80),
        (command(2, 1, [wild, 0], &[0, 0, 0]), 0x04),
        (command(1, 1, [DATA, wild], &[0, 0, 15]), 0x04),
        (command(2, 1, [DATA, wild], &[0, 0, 31]), 0x04),
        (command(2, 1, [DATA, DATA + 1], &[0, 0, 15]), 0x13),
        (command(2, 1, [DATA, 0], &[0, 0, 0x1ff]), 0x02),
        (command(2, 2, [DATA, 0], &[0, 0, 0]), 0x0b),
    ] {
        assert_eq!(bench.run(1, &bytes).0, status, "{bytes:?}");
    }
    let again = command(1, 0, [QUEUE, 0], &[0xf_0001, 1 << 16 | 1]);
    assert_eq!(bench.run(0, &again).0, 0x101);
    assert_eq!(bench.run(0, &command(4, 0, [0, 0], &[1])).0, 0x10c);
    assert_eq!(bench.run(0, &command(0, 0, [0, 0], &[1])).0, 0);
    assert_eq!(bench.run(0, &command(4, 0, [0, 0], &[1])).0, 0);
}

#[test]
fn queues_that_lie_nowhere_are_survived() {
    let mut bench = bench();
    bench.nvme.bar_write(0, 0x14, 4, 0);
    bench.nvme.bar_write(0, 0x28, 8, u64::MAX);
    bench.nvme.bar_write(0, 0x30, 8, u64::MAX);
    bench.nvme.bar_write(0, 0x14, 4, 1);
    bench.nvme.bar_write(0, DOORBELLS, 4, ENTRIES - 1);
    bench.nvme.bar_write(0, DOORBELLS + 4, 4, ENTRIES - 1);
    assert_eq!(bench.nvme.bar_read(0, 0x1c, 4), 1);
}

#[test]
fn the_pin_is_high_while_answers_wait() {
    let mut bench = bench();
    bench.nvme.bar_write(0, DOORBELLS, 4, 1);
    assert!(bench.line.high());
    bench.nvme.bar_write(0, 0x0c, 4, 1);
    assert!(!bench.line.high(), "masked");
    bench.nvme.bar_write(0, 0x10, 4, 1);
    assert!(bench.line.high());
    // Configuration space says so at its own place, however it is read.
    let status = [(6, 1), (7, 1), (4, 4)].map(|(at, size)| bench.nvme.config_read(at, size));
    assert_eq!((status[0] & 8, status[1] & 8), (8, 0));
    assert_eq!(status[2] >> 19 & 1, 1);
    bench.nvme.bar_write(0, DOORBELLS + 4, 4, 1);
    assert!(!bench.line.high());
    assert_eq!(bench.nvme.config_read(6, 1) & 8, 0);
}

#[test]
fn messages_tell_of_answers() {
    let mut bench = bench();
    for (at, value) in [(0, 0xfee0_0000), (8, 0x41), (12, 0)] {
        bench.nvme.bar_write(0, MSIX_TABLE + 16 + at, 4, value);
    }
    let control = u32::from(bench.nvme.msix_control);
    bench.nvme.config_write(control as u16, 2, 0x8000);
    bench.make_queues(1);
    assert!(bench.msi.take().is_empty());
    assert_eq!(bench.run(1, &command(0, 1, [0, 0], &[])), (0, 0));
    assert_eq!(bench.msi.take(), [(0xfee0_0000, 0x41)]);
    assert!(!bench.line.high());
    assert_eq!(
        bench
            .disk
            .flushes
            .load(std::sync::atomic::Ordering::Relaxed),
        1
    );
}

#[test]
fn a_full_queue_of_answers_holds_commands_back() {
    let mut bench = bench();
    bench.nvme.bar_write(0, 0x14, 4, 0);
    bench.nvme.bar_write(0, 0x24, 4, 1 << 16 | (ENTRIES - 1));
    bench.nvme.bar_write(0, 0x14, 4, 1);
    bench.nvme.bar_write(0, DOORBELLS, 4, 3);
    let answers = |bench: &Bench| -> [u32; 2] {
        [3, 7].map(|word| {
            let at = GuestAddress(ADMIN_ANSWERS + 4 * word);
            bench.memory.ram().read_obj(at).unwrap()
        })
    };
    assert_ne!(answers(&bench)[0], 0);
    assert_eq!(answers(&bench)[1], 0, "two entries hold one answer");
    bench.nvme.bar_write(0, DOORBELLS + 4, 4, 1);
    assert_ne!(answers(&bench)[1], 0);
}

#[test]
fn admin_queues_may_be_larger_than_others() {
    let mut bench = bench();
    bench.nvme.bar_write(0, 0x14, 4, 0);
    bench.nvme.bar_write(0, 0x24, 4, 255 << 16 | 63);
    bench.nvme.bar_write(0, 0x14, 4, 1);
    assert_eq!(bench.nvme.bar_read(0, 0x1c, 4), 1);
    let too_large = command(5, 0, [ANSWERS, 0], &[128 << 16 | 1, 1]);
    assert_eq!(bench.run(0, &too_large).0, 0x102);
}

#[test]
fn queues_have_their_turns_where_a_rate_lets_little_pass() {
    const SECOND: u64 = 0x1_4000;
    const SECOND_ANSWERS: u64 = 0x1_5000;
    let mut bench = bench();
    bench.make_queues(1);
    let size = (ENTRIES as u32 - 1) << 16 | 2;
    let made = bench.run(0, &command(5, 0, [SECOND_ANSWERS, 0], &[size, 2 << 16 | 3]));
    assert_eq!(made, (0, 0));
    let made = bench.run(0, &command(1, 0, [SECOND, 0], &[size, 2 << 16 | 1]));
    assert_eq!(made, (0, 0));
    let gate = RateGate::default();
    let pace = Pace::new(gate.clone(), FakeClock::new(), FakeTimer::new());
    bench.nvme = bench.nvme.with_pace(pace);
    // One command passes each time that it is set.
    let one = RateLimit {
        bytes: None,
        operations: NonZeroU64::new(1),
    };
    gate.set(one);
    let flush = command(0, 1, [0, 0], &[]);
    let ram = bench.memory.ram();
    for at in (QUEUE..).step_by(64).take(4).chain([SECOND]) {
        ram.write_slice(&flush, GuestAddress(at)).unwrap();
    }
    bench.nvme.bar_write(0, DOORBELLS + 8, 4, 4);
    bench.nvme.bar_write(0, DOORBELLS + 16, 4, 1);
    let mut answered = Vec::new();
    for _ in 0..3 {
        answered.push([ANSWERS, SECOND_ANSWERS].map(|answers| {
            let entries = bench.bytes(answers, 4 * 16);
            entries.chunks(16).filter(|it| it[14] & 1 != 0).count()
        }));
        gate.set(one);
        bench.nvme.expire();
    }
    assert_eq!(answered, [[1, 0], [1, 1], [2, 1]]);
}
