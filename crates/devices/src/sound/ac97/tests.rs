use std::fs::{self, File};
use std::path::PathBuf;

use memory::{Gpa, RamRange};
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::pci::COMMAND;
use crate::testing::{FakeClock, FakeLine, FakeTimer};

const LIST: u64 = 0x1000;
const SOUND: u64 = 0x1_0000;
const TELL: u32 = 1 << 31;
const PLAY: u64 = 0x10;
const MILLISECOND: u64 = 1_000_000;

struct Setup {
    card: Ac97,
    memory: GuestMemory,
    clock: Arc<FakeClock>,
    timer: Arc<FakeTimer>,
    line: Arc<FakeLine>,
    file: PathBuf,
}

impl Drop for Setup {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

fn setup(name: &str) -> Setup {
    let ram = RamRange {
        base: Gpa(0),
        len: 1 << 20,
    };
    let memory = GuestMemory::new(&[ram]).unwrap();
    let (clock, timer, line) = (FakeClock::new(), FakeTimer::new(), FakeLine::new());
    let file = std::env::temp_dir().join(format!("ac97-{name}-{}", std::process::id()));
    let mut card = Ac97::new(Ac97Parts {
        memory: memory.clone(),
        clock: Arc::clone(&clock) as _,
        timer: Arc::clone(&timer) as _,
        line: Arc::clone(&line) as _,
        output: Some(Wave::begin(File::create(&file).unwrap()).unwrap()),
    });
    card.config_write(COMMAND, 2, 5);
    card.bar_write(1, CONTROL, 4, u64::from(CONTROL_COLD));
    Setup {
        card,
        memory,
        clock,
        timer,
        line,
        file,
    }
}

impl Setup {
    fn describe(&self, index: u64, address: u64, control: u32) {
        let entry = [address as u32, control];
        let at = GuestAddress(LIST + index * 8);
        self.memory.ram().write_obj(entry, at).unwrap();
    }

    fn read(&mut self, at: u64, size: u8) -> u64 {
        self.card.bar_read(1, at, size)
    }

    fn write(&mut self, at: u64, size: u8, value: u64) {
        self.card.bar_write(1, at, size, value);
    }

    /// Plays up to buffer `last`, with interrupts.
    fn start(&mut self, last: u64) {
        self.write(PLAY, 4, LIST);
        self.write(PLAY + 5, 1, last);
        self.write(PLAY + 0xb, 1, 0x15);
    }

    fn pass(&mut self, milliseconds: u64) {
        self.clock.advance(milliseconds * MILLISECOND);
        self.card.alarm()(self.clock.now());
    }

    fn samples(&self) -> Vec<i16> {
        let bytes = fs::read(&self.file).unwrap();
        let pairs = bytes[44..].chunks_exact(2);
        pairs.map(|it| i16::from_le_bytes([it[0], it[1]])).collect()
    }
}

#[test]
fn what_is_played_is_in_the_file() {
    let mut it = setup("plays");
    let samples: Vec<u8> = (0..960u16).flat_map(u16::to_le_bytes).collect();
    it.memory
        .ram()
        .write_slice(&samples, GuestAddress(SOUND))
        .unwrap();
    it.describe(0, SOUND, 960);
    it.start(0);
    it.pass(20);
    let played = it.samples();
    assert_eq!(played.len(), 960);
    assert_eq!(played[2..], (0..958).collect::<Vec<i16>>());
}

#[test]
fn buffers_are_gone_through_at_the_pace_of_the_rate() {
    let mut it = setup("pace");
    // Ten milliseconds each.
    it.describe(0, SOUND, 960 | TELL);
    it.describe(1, SOUND, 960);
    it.start(1);
    assert_eq!(it.timer.deadline(), Some(10 * MILLISECOND));
    it.clock.advance(5 * MILLISECOND);
    assert_eq!(it.read(PLAY + 8, 2), 480, "half is left");
    assert!(!it.line.high());
    it.pass(5);
    assert_eq!(it.read(PLAY + 4, 1), 1);
    assert!(it.line.high());
    assert_eq!(it.read(STATUS, 4), 0x140);
    it.write(PLAY + 6, 2, 8);
    assert!(!it.line.high());
    it.pass(10);
    assert_eq!(
        it.read(PLAY + 6, 2),
        7,
        "halted, at the last, which is done"
    );
    assert!(it.line.high());
    assert_eq!(it.timer.deadline(), None);
    // One more.
    it.write(PLAY + 6, 2, 4);
    it.describe(2, SOUND, 960);
    it.write(PLAY + 5, 1, 2);
    assert_eq!(it.read(PLAY + 4, 1), 2);
    assert!(it.timer.deadline().is_some());
}

#[test]
fn a_rate_is_chosen_where_the_codec_was_told_so() {
    let mut it = setup("rate");
    it.card.bar_write(0, 0x2c, 2, 8000);
    assert_eq!(it.card.bar_read(0, 0x2c, 2), 48_000);
    it.card.bar_write(0, 0x2a, 2, 1);
    it.card.bar_write(0, 0x2c, 2, 8000);
    it.describe(0, SOUND, 960);
    it.start(0);
    it.clock.advance(30 * MILLISECOND);
    assert_eq!(it.read(PLAY + 8, 2), 480);
    it.pass(30);
    assert_eq!(it.samples().len(), 2 * 6 * 480, "at the file's own rate");
}

#[test]
fn a_list_of_nothing_comes_to_an_end() {
    let mut it = setup("nothing");
    it.start(31);
    it.pass(1);
    assert_eq!(it.read(PLAY + 6, 2) & 7, 7);
    assert_eq!(it.samples().len(), 0);
}

#[test]
fn without_the_bus_nothing_plays() {
    let mut it = setup("bus");
    it.describe(0, SOUND, 960);
    it.start(0);
    it.card.config_write(COMMAND, 2, 1);
    assert_eq!(it.timer.deadline(), None);
    it.pass(50);
    assert_eq!(it.read(PLAY + 8, 2), 960);
}

#[test]
fn silence_is_recorded() {
    let mut it = setup("records");
    it.memory
        .ram()
        .write_slice(&[1; 1920], GuestAddress(SOUND))
        .unwrap();
    it.describe(0, SOUND, 960);
    it.write(0, 4, LIST);
    it.write(5, 1, 0);
    it.write(0xb, 1, 0x15);
    it.pass(10);
    let mut heard = [1; 1920];
    let at = GuestAddress(SOUND);
    it.memory.ram().read_slice(&mut heard, at).unwrap();
    assert_eq!(heard, [0; 1920]);
    assert_eq!(it.read(STATUS, 4), 0x120);
}
