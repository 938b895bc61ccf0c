use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};

use super::{IS, IS_NOT, Sb16, Sb16Parts};
use crate::isa_dma::IsaDma;
use crate::ports::locked;
use crate::sound::Wave;
use crate::testing::{FakeClock, FakeLine, FakeTimer};
use crate::{Clock, Device};

const BUFFER: u64 = 0x1_0000;
const MILLISECOND: u64 = 1_000_000;
const HEADER: usize = 44;
/// Of the card's interrupts.
const IRQ_5: usize = 1;
const IRQ_7: usize = 2;

struct Bench {
    card: Sb16,
    clock: Arc<FakeClock>,
    timer: Arc<FakeTimer>,
    irqs: [Arc<FakeLine>; 4],
    dma: Arc<Mutex<IsaDma>>,
    memory: GuestMemory,
    file: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let file = std::env::temp_dir().join(format!("sb16-{name}-{}", std::process::id()));
        let wave = Wave::begin(File::create(&file).unwrap()).unwrap();
        let ram = RamRange {
            base: Gpa(0),
            len: 0x4_0000,
        };
        let memory = GuestMemory::new(&[ram]).unwrap();
        let (clock, timer) = (FakeClock::new(), FakeTimer::new());
        let irqs: [Arc<FakeLine>; 4] = std::array::from_fn(|_| FakeLine::new());
        let dma = Arc::new(Mutex::new(IsaDma::new()));
        let card = Sb16::new(Sb16Parts {
            memory: memory.clone(),
            dma: Arc::clone(&dma),
            clock: clock.clone(),
            timer: timer.clone(),
            irqs: std::array::from_fn(|index| Arc::clone(&irqs[index]) as _),
            output: Some(wave),
        });
        Bench {
            card,
            clock,
            timer,
            irqs,
            dma,
            memory,
            file,
        }
    }

    fn commands(&mut self, bytes: &[u8]) {
        for byte in bytes {
            assert_eq!(self.card.read(0xc, 1), u64::from(IS_NOT));
            self.card.write(0xc, 1, (*byte).into());
        }
    }

    fn answer(&mut self) -> Option<u8> {
        let is = self.card.read(0xe, 1) == u64::from(IS);
        is.then(|| u8::try_from(self.card.read(0xa, 1)).unwrap())
    }

    fn mixer(&mut self, index: u64) -> u64 {
        self.card.write(4, 1, index);
        self.card.read(5, 1)
    }

    fn set_mixer(&mut self, index: u64, value: u64) {
        self.card.write(4, 1, index);
        self.card.write(5, 1, value);
    }

    /// Channel 1 over so many bytes, or channel 5 over so many words, of the buffer, again and again.
    fn program_dma(&mut self, channel: u64, units: u64, mode: u64) {
        let (base, step, address) = match channel {
            0..4 => (0, 1, 0),
            _ => (0x20, 2, BUFFER / 2),
        };
        let page = if channel == 1 { 0x43 } else { 0x4b };
        let at = channel & 3;
        let list = [
            (base + step * 0xa, 4 | at),
            (base + step * 0xc, 0),
            (base + step * at * 2, address & 0xff),
            (base + step * at * 2, address >> 8),
            (base + step * (at * 2 + 1), (units - 1) & 0xff),
            (base + step * (at * 2 + 1), (units - 1) >> 8),
            (base + step * 0xb, mode | at),
            (page, BUFFER >> 16),
            (base + step * 0xa, at),
        ];
        for (port, value) in list {
            locked(&self.dma).write(port, 1, value);
        }
    }

    /// Time goes by, and the alarm goes off when it is to.
    fn pass(&mut self, time: u64) {
        let end = self.clock.now() + time;
        while let Some(deadline) = self.timer.deadline().filter(|&it| it <= end) {
            self.clock.set(deadline);
            self.card.expire(deadline);
        }
        self.clock.set(end);
    }

    fn frames(&self) -> Vec<[i16; 2]> {
        let bytes = fs::read(&self.file).unwrap();
        let frames = bytes[HEADER..].chunks_exact(4);
        let sample = |low, high| i16::from_le_bytes([low, high]);
        frames
            .map(|it| [sample(it[0], it[1]), sample(it[2], it[3])])
            .collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

#[test]
fn a_reset_is_answered_when_it_ends_and_the_version_is_that_of_a_16() {
    let mut bench = Bench::new("reset");
    assert_eq!(bench.answer(), None);
    bench.card.write(6, 1, 1);
    assert_eq!(bench.card.read(0xc, 1), u64::from(IS));
    assert_eq!(bench.answer(), None);
    bench.card.write(6, 1, 0);
    assert_eq!(bench.answer(), Some(0xaa));
    bench.commands(&[0xe1]);
    assert_eq!([bench.answer(), bench.answer()], [Some(4), Some(5)]);
    bench.commands(&[0xe0, 0x5a, 0xe4, 0x17, 0xe8, 0xd8, 0xd1, 0xd8]);
    let answers: Vec<u8> = std::iter::from_fn(|| bench.answer()).collect();
    assert_eq!(answers, [0xa5, 0x17, 0x00, 0xff]);
    assert_eq!(bench.card.read(0xa, 1), 0xff, "the last one stays");
}

#[test]
fn bytes_are_played_once_and_their_end_interrupts() {
    let mut bench = Bench::new("single");
    for at in 0..2000 {
        let byte = if at % 50 < 25 { 0xc0u8 } else { 0x40 };
        bench
            .memory
            .ram()
            .write_obj(byte, GuestAddress(BUFFER + at))
            .unwrap();
    }
    bench.program_dma(1, 2000, 0x48);
    // 20 kHz, by a time constant.
    bench.commands(&[0xd1, 0x40, 206, 0x14, 0xcf, 0x07]);
    bench.pass(99 * MILLISECOND);
    assert!(!bench.irqs[IRQ_5].high());
    bench.pass(2 * MILLISECOND);
    assert!(bench.irqs[IRQ_5].high());
    assert_eq!(bench.mixer(0x82), 1);
    bench.card.read(0xe, 1);
    assert!(!bench.irqs[IRQ_5].high());
    assert_eq!(bench.mixer(0x82), 0);
    bench.pass(500 * MILLISECOND);
    assert_eq!(
        (bench.irqs[IRQ_5].edges(), bench.timer.deadline()),
        (1, None)
    );
    let frames = bench.frames();
    assert!((4790..=4801).contains(&frames.len()), "{}", frames.len());
    let loud = frames
        .iter()
        .filter(|it| it[0] == 0x4000 && it[1] == 0x4000);
    assert!((2200..2500).contains(&loud.count()));
}

#[test]
fn words_are_played_again_and_again_until_they_shall_end() {
    let mut bench = Bench::new("auto");
    for at in 0..1000 {
        let frame = [1000i16, -2000].map(i16::cast_unsigned).map(u16::to_le);
        bench
            .memory
            .ram()
            .write_obj(frame, GuestAddress(BUFFER + 4 * at))
            .unwrap();
    }
    bench.program_dma(5, 2000, 0x58);
    // 48 kHz, signed, stereo, in blocks of half of the buffer.
    bench.commands(&[0x41, 0xbb, 0x80, 0xb6, 0x30, 0xe7, 0x03]);
    let mut interrupts = 0;
    for _ in 0..96 {
        bench.pass(MILLISECOND);
        if bench.mixer(0x82) == 2 {
            interrupts += 1;
            bench.card.read(0xf, 1);
        }
    }
    // Every 500 frames.
    assert_eq!(interrupts, 9);
    bench.commands(&[0xd5]);
    bench.pass(100 * MILLISECOND);
    assert!((4600..=4610).contains(&bench.frames().len()));
    bench.commands(&[0xd6, 0xd9]);
    bench.pass(100 * MILLISECOND);
    let frames = bench.frames();
    assert!((4990..=5001).contains(&frames.len()), "{}", frames.len());
    assert!(frames[1..].iter().all(|it| *it == [1000, -2000]));
    assert_eq!(bench.timer.deadline(), None);
}

#[test]
fn what_is_recorded_is_silence() {
    let mut bench = Bench::new("records");
    bench.program_dma(1, 100, 0x44);
    bench.commands(&[0x42, 0x1f, 0x40, 0xc8, 0x00, 99, 0]);
    bench.pass(20 * MILLISECOND);
    let mut heard = [0; 101];
    bench
        .memory
        .ram()
        .read_slice(&mut heard, GuestAddress(BUFFER))
        .unwrap();
    assert_eq!(heard[..100], [0x80; 100]);
    assert_eq!((heard[100], bench.mixer(0x82)), (0, 1));
    bench.commands(&[0x20]);
    assert_eq!(bench.answer(), Some(0x80));
}

#[test]
fn a_channel_that_gives_nothing_stalls() {
    let mut bench = Bench::new("stalls");
    bench.commands(&[0x14, 0xff, 0x00]);
    bench.pass(1000 * MILLISECOND);
    assert_eq!((bench.irqs[IRQ_5].edges(), bench.frames().len()), (0, 0));
}

#[test]
fn samples_that_are_written_directly_are_heard_until_the_next() {
    let mut bench = Bench::new("direct");
    // A square wave of 1 kHz, at 8 kHz.
    for at in 0..8000u32 {
        let byte = if at % 8 < 4 { 0xc0 } else { 0x40 };
        bench.commands(&[0x10, byte]);
        bench.pass(125_000);
    }
    let frames = bench.frames();
    assert!(
        (47_900..=48_000).contains(&frames.len()),
        "{}",
        frames.len()
    );
    let periods = frames.windows(2).filter(|it| it[0][0] < 0 && it[1][0] > 0);
    assert!((998..=1001).contains(&periods.count()));
    // Nothing is heard of a pause.
    bench.pass(10_000 * MILLISECOND);
    bench.commands(&[0x10, 0x80]);
    assert!(bench.frames().len() < 51_000);
}

#[test]
fn silence_takes_its_time() {
    let mut bench = Bench::new("silence");
    bench.commands(&[0x41, 0x1f, 0x40, 0x80, 0x3f, 0x1f]);
    bench.pass(990 * MILLISECOND);
    assert_eq!(bench.irqs[IRQ_5].edges(), 0);
    bench.pass(20 * MILLISECOND);
    assert_eq!((bench.irqs[IRQ_5].edges(), bench.frames().len()), (1, 0));
}

#[test]
fn interrupts_are_where_the_mixer_says_also_by_wish() {
    let mut bench = Bench::new("wish");
    assert_eq!((bench.mixer(0x80), bench.mixer(0x81)), (2, 0x22));
    bench.commands(&[0xf2]);
    assert!(bench.irqs[IRQ_5].high());
    bench.set_mixer(0x80, 4);
    assert!(!bench.irqs[IRQ_5].high());
    assert!(bench.irqs[IRQ_7].high());
    bench.commands(&[0xf3]);
    assert_eq!(bench.mixer(0x82), 3);
    bench.card.read(0xe, 1);
    assert!(bench.irqs[IRQ_7].high());
    bench.card.read(0xf, 1);
    assert!(!bench.irqs[IRQ_7].high());
}

#[test]
fn volumes_of_older_cards_are_those_of_this_one() {
    let mut bench = Bench::new("mixer");
    bench.set_mixer(0x22, 0x9c);
    assert_eq!((bench.mixer(0x30), bench.mixer(0x31)), (0x90, 0xc0));
    bench.set_mixer(0x31, 0x58);
    assert_eq!(bench.mixer(0x22), 0x95);
    bench.set_mixer(0, 0);
    assert_eq!(bench.mixer(0x22), 0xcc);
    assert_eq!(bench.mixer(0xfe), 0xff);
}

#[test]
fn blocks_of_a_sample_come_to_an_end() {
    let mut bench = Bench::new("short");
    bench.program_dma(1, 1, 0x58);
    bench.commands(&[0x41, 0xff, 0xff, 0xc6, 0x00, 0, 0]);
    bench.clock.set(1 << 62);
    bench.card.expire(1 << 62);
    assert!((23_000..=24_001).contains(&bench.frames().len()));
    assert!(bench.timer.deadline().unwrap() >= (1 << 62) + 500_000);
}
