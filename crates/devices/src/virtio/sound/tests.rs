#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::pci::PciFunction;
use crate::testing::FakeClock;
use crate::virtio::F_EVENT_IDX;
use crate::virtio::testing::{Buffer, Driver, wait_until};

use super::*;

const MILLISECOND: u64 = 1_000_000;
/// Queues.
const PLAYED: usize = 2;
const RECORDED: usize = 3;
/// Requests.
const INFO: u32 = 0x100;
const SET: u32 = 0x101;
const PREPARE: u32 = 0x102;
const RELEASE: u32 = 0x103;
const START: u32 = 0x104;
const STOP: u32 = 0x105;
/// Answers.
const OK: u32 = 0x8000;
const BAD_MESSAGE: u32 = 0x8001;
const NOT_SUPPORTED: u32 = 0x8002;
const IO_ERROR: u32 = 0x8003;
const NEEDS_RESET: u8 = 0x40;

struct Setup {
    driver: Driver,
    clock: Arc<FakeClock>,
    file: PathBuf,
}

impl Drop for Setup {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

fn card(clock: &Arc<FakeClock>, file: &Path) -> Sound {
    let output = Wave::begin(File::create(file).unwrap()).unwrap();
    Sound::new(Arc::clone(clock) as _, Some(output))
}

fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("virtio-sound-{name}-{}", std::process::id()))
}

fn setup(name: &str) -> Setup {
    let (clock, file) = (FakeClock::new(), file(name));
    let mut driver = Driver::new(card(&clock, &file));
    driver.start(F_EVENT_IDX);
    Setup {
        driver,
        clock,
        file,
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

impl Setup {
    /// Status and what is behind it, of `room` bytes.
    fn ask(&mut self, request: &[u8], room: u32) -> (u32, Vec<u8>) {
        let head = self
            .driver
            .submit(CONTROL, &[Buffer::Out(request), Buffer::In(4 + room)]);
        let (answered, len) = self.driver.answer(CONTROL);
        assert_eq!(answered, head);
        let mut answer = self.driver.written(CONTROL, head);
        answer.truncate(len as usize);
        let items = answer.split_off(4);
        (u32::from_le_bytes(answer.try_into().unwrap()), items)
    }

    fn order(&mut self, code: u32, stream: u32) -> u32 {
        self.ask(&words(&[code, stream]), 0).0
    }

    fn set(&mut self, stream: u32, [channels, format, rate]: [u8; 3]) -> u32 {
        let mut request = words(&[SET, stream, 3840, 1920, 0]);
        request.extend([channels, format, rate, 0]);
        self.ask(&request, 0).0
    }

    /// Two channels of 16 bits, 48 kHz.
    fn prepare(&mut self, stream: u32) {
        assert_eq!(self.set(stream, [2, 5, 7]), OK);
        assert_eq!(self.order(PREPARE, stream), OK);
    }

    /// Has frames waiting to be played.
    fn write(&mut self, frames: &[u8]) -> u16 {
        let header = words(&[OUTPUT]);
        let buffers = [Buffer::Out(&header), Buffer::Out(frames), Buffer::In(8)];
        self.driver.submit(PLAYED, &buffers)
    }

    /// The status of the next answer of a stream's queue, and the bytes that were written.
    fn answer(&mut self, queue: usize) -> (u16, u32, u32) {
        let (head, len) = self.driver.answer(queue);
        let written = self.driver.written(queue, head);
        let status = written[written.len() - 8..].first_chunk().unwrap();
        (head, u32::from_le_bytes(*status), len)
    }

    /// The time of so many milliseconds, of which the worker learns by itself.
    fn pass(&mut self, milliseconds: u64) {
        self.clock.advance(milliseconds * MILLISECOND);
    }

    fn samples(&self) -> Vec<i16> {
        let bytes = fs::read(&self.file).unwrap();
        let pairs = bytes[44..].chunks_exact(2);
        pairs.map(|it| i16::from_le_bytes([it[0], it[1]])).collect()
    }

    fn hears(&self, frames: usize) {
        wait_until(|| self.samples().len() >= 2 * frames);
        assert_eq!(self.samples().len(), 2 * frames);
    }
}

/// So many milliseconds of samples that count up, two channels of 16 bits at 48 kHz.
fn sound(milliseconds: u16) -> Vec<u8> {
    (0..milliseconds * 96).flat_map(u16::to_le_bytes).collect()
}

#[test]
fn what_is_played_is_in_the_file() {
    let mut it = setup("plays");
    it.prepare(OUTPUT);
    let head = it.write(&sound(10));
    assert_eq!(it.order(START, OUTPUT), OK);
    it.pass(10);
    assert_eq!(it.answer(PLAYED), (head, OK, 8));
    let played = it.samples();
    assert_eq!(played.len(), 960);
    assert_eq!(played[2..], (0..958).collect::<Vec<i16>>());
}

#[test]
fn a_message_is_answered_when_its_time_has_gone_by() {
    let mut it = setup("pace");
    it.prepare(OUTPUT);
    let first = it.write(&sound(20));
    let second = it.write(&sound(20));
    assert_eq!(it.order(START, OUTPUT), OK);
    it.pass(10);
    it.hears(480);
    assert!(!it.driver.has_answer(PLAYED));
    it.pass(20);
    it.hears(1440);
    assert_eq!(it.answer(PLAYED).0, first);
    assert!(!it.driver.has_answer(PLAYED));
    it.pass(10);
    assert_eq!(it.answer(PLAYED).0, second);
}

#[test]
fn nothing_plays_before_the_start_and_after_a_stop() {
    let mut it = setup("stop");
    it.prepare(OUTPUT);
    let head = it.write(&sound(20));
    it.pass(100);
    assert_eq!(it.order(START, OUTPUT), OK);
    it.pass(10);
    it.hears(480);
    assert_eq!(it.order(STOP, OUTPUT), OK);
    it.pass(100);
    assert_eq!(it.order(START, OUTPUT), OK);
    it.hears(480);
    it.pass(10);
    assert_eq!(it.answer(PLAYED), (head, OK, 8));
    it.hears(960);
}

#[test]
fn time_without_a_message_does_not_count() {
    let mut it = setup("starves");
    it.prepare(OUTPUT);
    assert_eq!(it.order(START, OUTPUT), OK);
    it.order(INFO, 0);
    it.pass(400);
    let head = it.write(&sound(20));
    it.order(INFO, 0);
    it.pass(10);
    it.hears(480);
    assert!(!it.driver.has_answer(PLAYED));
    it.pass(10);
    assert_eq!(it.answer(PLAYED).0, head);
}

#[test]
fn of_a_long_time_little_is_made_up_for() {
    let mut it = setup("late");
    it.prepare(OUTPUT);
    it.write(&sound(600));
    assert_eq!(it.order(START, OUTPUT), OK);
    it.pass(3_600_000);
    it.hears(24_000);
    assert!(!it.driver.has_answer(PLAYED));
}

#[test]
fn a_stream_is_released_when_its_messages_are() {
    let mut it = setup("release");
    it.prepare(OUTPUT);
    let heads = [1, 2, 3].map(|length| it.write(&sound(length)));
    assert_eq!(it.order(RELEASE, OUTPUT), OK);
    for head in heads {
        assert!(it.driver.has_answer(PLAYED), "later than the request");
        assert_eq!(it.answer(PLAYED), (head, OK, 8));
    }
    it.hears(0);
    let head = it.write(&sound(1));
    assert_eq!(it.answer(PLAYED), (head, IO_ERROR, 8));
}

#[test]
fn rates_and_formats_are_the_files() {
    let mut it = setup("rate");
    // One channel of bytes, 8 kHz.
    assert_eq!(it.set(OUTPUT, [1, 4, 1]), OK);
    assert_eq!(it.order(PREPARE, OUTPUT), OK);
    it.write(&[0xc0; 160]);
    assert_eq!(it.order(START, OUTPUT), OK);
    it.pass(20);
    it.answer(PLAYED);
    it.hears(960);
    assert!(it.samples()[12..].iter().all(|sample| *sample == 0x4000));
}

#[test]
fn silence_is_recorded() {
    let mut it = setup("records");
    it.prepare(INPUT);
    let header = words(&[INPUT]);
    let buffers = || [Buffer::Out(&header), Buffer::In(1920), Buffer::In(8)];
    let [first, second] = [(); 2].map(|()| it.driver.submit(RECORDED, &buffers()));
    assert_eq!(it.order(START, INPUT), OK);
    it.pass(10);
    assert_eq!(it.answer(RECORDED), (first, OK, 1928));
    assert!(
        it.driver.written(RECORDED, first)[..1920]
            .iter()
            .all(|it| *it == 0)
    );
    // What is not full yet ends with its stream.
    it.pass(5);
    wait_until(|| it.driver.written(RECORDED, second)[..960] == [0; 960]);
    assert_eq!(it.order(STOP, INPUT), OK);
    assert_eq!(it.order(RELEASE, INPUT), OK);
    assert_eq!(it.answer(RECORDED), (second, OK, 968));
    it.hears(0);
}

#[test]
fn what_may_be_done_when() {
    let mut it = setup("lifecycle");
    for code in [PREPARE, RELEASE, START, STOP] {
        assert_eq!(it.order(code, OUTPUT), BAD_MESSAGE, "{code:#x} at first");
    }
    it.prepare(OUTPUT);
    assert_eq!(it.order(STOP, OUTPUT), BAD_MESSAGE);
    assert_eq!(it.order(PREPARE, OUTPUT), OK);
    assert_eq!(it.order(START, OUTPUT), OK);
    for code in [PREPARE, RELEASE, START] {
        assert_eq!(
            it.order(code, OUTPUT),
            BAD_MESSAGE,
            "{code:#x} of a running one"
        );
    }
    assert_eq!(it.set(OUTPUT, [2, 5, 7]), BAD_MESSAGE);
    assert_eq!(it.order(STOP, OUTPUT), OK);
    assert_eq!(it.order(RELEASE, OUTPUT), OK);
    assert_eq!(it.order(START, OUTPUT), BAD_MESSAGE);
    assert_eq!(it.order(PREPARE, OUTPUT), OK);
    assert_eq!(it.order(START, INPUT), BAD_MESSAGE, "the other one");
}

#[test]
fn the_driver_learns_what_there_is() {
    let mut it = setup("info");
    let counts = [0, 4, 8].map(|at| it.driver.function_read(it.driver.device + at, 4));
    assert_eq!(counts, [0, 2, 0]);
    let (status, items) = it.ask(&words(&[INFO, 0, 2, 32]), 64);
    assert_eq!((status, items.len()), (OK, 64));
    assert_eq!(items[24..32], [0, 1, 2, 0, 0, 0, 0, 0]);
    assert_eq!(items[56..64], [1, 1, 2, 0, 0, 0, 0, 0]);
    assert_eq!(
        items[8..16],
        (1u64 << 4 | 1 << 5 | 1 << 15 | 1 << 17 | 1 << 19).to_le_bytes()
    );
    let (status, items) = it.ask(&words(&[INFO, 1, 1, 32]), 32);
    assert_eq!((status, items[24]), (OK, 1));
    // No jacks, no channel maps.
    for code in [0x001, 0x200] {
        assert_eq!(it.ask(&words(&[code, 0, 0, 24]), 0), (OK, vec![]));
        assert_eq!(it.ask(&words(&[code, 0, 1, 24]), 24), (BAD_MESSAGE, vec![]));
    }
}

#[test]
fn requests_of_nonsense_are_refused() {
    let mut it = setup("nonsense");
    let refused = [
        (words(&[0x999]), NOT_SUPPORTED),
        (vec![0, 1], BAD_MESSAGE),
        (words(&[INFO, 0]), BAD_MESSAGE),
        (words(&[INFO, 1, 2, 32]), BAD_MESSAGE),
        (words(&[INFO, u32::MAX, u32::MAX, 32]), BAD_MESSAGE),
        (words(&[INFO, 0, 1, u32::MAX]), NOT_SUPPORTED),
        (words(&[INFO, 0, 2, 32]), BAD_MESSAGE),
        (words(&[START, 2]), BAD_MESSAGE),
        (words(&[SET, 0, 1920, 1920]), BAD_MESSAGE),
        (words(&[SET, 0, 1920, 0, 0, 0x0007_0502]), BAD_MESSAGE),
        (words(&[SET, 0, 1920, 1921, 0, 0x0007_0502]), BAD_MESSAGE),
        (words(&[SET, 0, 1920, 1920, 1, 0x0007_0502]), NOT_SUPPORTED),
        (words(&[SET, 0, 1920, 1920, 0, 0x0007_0503]), NOT_SUPPORTED),
        (words(&[SET, 0, 1920, 1920, 0, 0x0007_0002]), NOT_SUPPORTED),
        (words(&[SET, 0, 1920, 1920, 0, 0x000d_0502]), NOT_SUPPORTED),
    ];
    for (request, status) in refused {
        assert_eq!(it.ask(&request, 0), (status, vec![]), "{request:?}");
    }
    assert_eq!(it.driver.status() & NEEDS_RESET, 0);
}

#[test]
fn messages_of_other_streams_are_refused() {
    let mut it = setup("strangers");
    it.prepare(OUTPUT);
    let head = it.write(&sound(10));
    assert_eq!(it.order(START, OUTPUT), OK);
    for (queue, stream) in [(PLAYED, INPUT), (RECORDED, OUTPUT), (RECORDED, 7)] {
        it.driver
            .submit(queue, &[Buffer::Out(&words(&[stream])), Buffer::In(8)]);
    }
    assert_eq!(
        [it.answer(RECORDED).1, it.answer(RECORDED).1],
        [IO_ERROR; 2]
    );
    it.pass(10);
    assert_eq!(it.answer(PLAYED), (head, OK, 8));
    assert_eq!(it.answer(PLAYED).1, IO_ERROR);
}

#[test]
fn a_message_without_room_for_its_answer_ends_it() {
    for buffers in [
        [Buffer::Out(&[0; 64]), Buffer::In(7)],
        [Buffer::Out(&[0; 3]), Buffer::In(8)],
    ] {
        let mut it = setup("short");
        it.driver.submit(PLAYED, &buffers);
        wait_until(|| it.driver.status() & NEEDS_RESET != 0);
        it.driver.start(0);
        it.prepare(OUTPUT);
    }
}

#[test]
fn a_restored_card_plays_the_rest_of_a_message() {
    let mut before = setup("saved");
    before.prepare(OUTPUT);
    let head = before.write(&sound(20));
    assert_eq!(before.order(START, OUTPUT), OK);
    before.pass(10);
    before.hears(480);
    before.driver.function.quiesce();
    let saved = before.driver.function.save();

    let (clock, file) = (FakeClock::new(), file("restored"));
    clock.set(77 * MILLISECOND);
    let memory = before.driver.memory.clone();
    let mut driver = Driver::with_memory(card(&clock, &file), memory);
    driver.function.restore(&saved).unwrap();
    assert_eq!(driver.function.save(), saved);
    let nothing = Driver::new(Sound::new(clock.clone(), None));
    driver.continue_from(std::mem::replace(&mut before.driver, nothing));
    let mut after = Setup {
        driver,
        clock,
        file,
    };
    after.driver.function.resume();
    after.pass(10);
    assert_eq!(after.answer(PLAYED), (head, OK, 8));
    let played = after.samples();
    assert_eq!(played.len(), 960);
    assert_eq!(played[2..], (960..1918).collect::<Vec<i16>>());
}

#[test]
fn a_damaged_state_is_refused() {
    let mut card = Sound::new(FakeClock::new(), None);
    let saved = card.save();
    assert!(card.restore(&[1]).is_err());
    assert!(card.restore(&[]).is_err());
    // Of the first stream: it runs, and has no parameters.
    let mut forged = saved.clone();
    forged[2] = 2;
    assert_eq!(
        card.restore(&forged),
        Err("a stream of impossible parameters".into())
    );
    assert_eq!(card.save(), saved);
    card.restore(&saved).unwrap();
}
