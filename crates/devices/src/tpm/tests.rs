use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use super::{BUFFER_LEN, Backend, Blobs, FAILURE, Tpm, TpmError};
use crate::virtio::Doorbell;
use crate::{Device, RestoreError};

const GET_RANDOM: [u8; 12] = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 2];

/// What it was told to do, and what it answers next.
#[derive(Debug, Default)]
struct Told {
    commands: Vec<Vec<u8>>,
    power_ons: u32,
    power_offs: u32,
    holds: Blobs,
    unreadable: Option<TpmError>,
}

#[derive(Debug)]
struct Fake {
    told: Arc<Mutex<Told>>,
    answers: Receiver<Result<Vec<u8>, TpmError>>,
}

impl Backend for Fake {
    fn power_on(&mut self) -> Result<(), TpmError> {
        self.told.lock().unwrap().power_ons += 1;
        Ok(())
    }

    fn execute(&mut self, command: &[u8], _: &Doorbell) -> Result<Vec<u8>, TpmError> {
        self.told.lock().unwrap().commands.push(command.to_vec());
        self.answers.recv().unwrap_or(Err(TpmError::Gone))
    }

    fn save(&mut self) -> Result<Blobs, TpmError> {
        if let Some(error) = &self.told.lock().unwrap().unreadable {
            return Err(error.clone());
        }
        Ok(self.told.lock().unwrap().holds.clone())
    }

    fn restore(&mut self, blobs: &Blobs) -> Result<(), TpmError> {
        if blobs.permanent == b"of another make" {
            return Err(TpmError::Refused {
                command: 13,
                code: 9,
            });
        }
        self.told.lock().unwrap().holds = blobs.clone();
        Ok(())
    }

    fn power_off(&mut self) {
        self.told.lock().unwrap().power_offs += 1;
    }
}

struct Bench {
    tpm: Tpm,
    told: Arc<Mutex<Told>>,
    answers: Sender<Result<Vec<u8>, TpmError>>,
}

impl Bench {
    fn new() -> Bench {
        let told: Arc<Mutex<Told>> = Arc::default();
        let (answers, receiver) = channel();
        let backend = Fake {
            told: Arc::clone(&told),
            answers: receiver,
        };
        Bench {
            tpm: Tpm::new(backend).unwrap(),
            told,
            answers,
        }
    }

    fn register(&mut self, at: u64) -> u32 {
        u32::try_from(self.tpm.read(at, 4)).unwrap()
    }

    /// As drivers do it.
    fn begin(&mut self, command: &[u8]) {
        self.tpm.write(0x08, 4, 1);
        self.tpm.write(0x40, 4, 1);
        for (at, byte) in (0x80..).zip(command) {
            self.tpm.write(at, 1, u64::from(*byte));
        }
        self.tpm.write(0x4c, 4, 1);
    }

    fn buffer(&mut self, count: u64) -> Vec<u8> {
        let all = (0x80..0x80 + count).map(|at| self.tpm.read(at, 1));
        all.map(|byte| u8::try_from(byte).unwrap()).collect()
    }

    fn done(&mut self, command: &[u8], answer: Result<Vec<u8>, TpmError>) -> Vec<u8> {
        self.answers.send(answer).unwrap();
        self.begin(command);
        self.tpm.settle();
        assert_eq!(self.register(0x4c), 0);
        self.buffer(10)
    }
}

#[test]
fn registers_are_those_of_a_crb_at_power_on() {
    let mut bench = Bench::new();
    assert_eq!(bench.register(0x00), 0x81);
    assert_eq!(bench.register(0x0c), 0);
    let interface = bench.register(0x30);
    assert_eq!((interface & 15, interface >> 4 & 15), (1, 1));
    assert_eq!(bench.register(0x44), 2);
    assert_eq!(bench.register(0x58), 3968);
    assert_eq!(bench.tpm.read(0x68, 8), 0xfed4_0080);
    assert_eq!(bench.register(0x5c), 0xfed4_0080);
    assert_eq!(bench.register(0x60), 0);
    // By which a driver of the FIFO interface would find one.
    assert_eq!(bench.register(0xf00), 0);
    assert_eq!(bench.tpm.read(0x31, 1), u64::from(interface >> 8 & 0xff));
}

#[test]
fn a_locality_is_asked_for_and_given_back() {
    let mut bench = Bench::new();
    bench.tpm.write(0x08, 4, 1);
    assert_eq!((bench.register(0x00), bench.register(0x0c)), (0x83, 1));
    bench.tpm.write(0x40, 4, 1);
    assert_eq!(bench.register(0x44), 0);
    bench.tpm.write(0x40, 4, 2);
    assert_eq!(bench.register(0x44), 2);
    bench.tpm.write(0x08, 4, 2);
    assert_eq!((bench.register(0x00), bench.register(0x0c)), (0x81, 0));
}

#[test]
fn a_command_is_done_beside_the_processor() {
    let mut bench = Bench::new();
    bench.begin(&GET_RANDOM);
    // Nobody has answered.
    assert_eq!(bench.register(0x4c), 1);
    assert_eq!(bench.buffer(2), [0xff, 0xff]);
    // Neither another command nor another start, meanwhile.
    bench.tpm.write(0x80, 1, 0x55);
    bench.tpm.write(0x4c, 4, 1);
    bench.tpm.write(0x40, 4, 2);
    let answer = [&FAILURE[..2], &[0, 0, 0, 14, 0, 0, 0, 0, 0, 2, 0xab, 0xcd]].concat();
    bench.answers.send(Ok(answer.clone())).unwrap();
    bench.tpm.settle();
    assert_eq!(bench.register(0x4c), 0);
    assert_eq!(bench.buffer(14), answer);
    assert_eq!(bench.register(0x44), 0);
    assert_eq!(bench.told.lock().unwrap().commands, [GET_RANDOM.to_vec()]);
    // Nothing is left of the command.
    assert_eq!(bench.tpm.read(0x80 + 14, 8), 0);
}

#[test]
fn wide_accesses_are_as_good_as_narrow_ones() {
    let mut bench = Bench::new();
    bench.tpm.write(0x80, 8, 0x1122_3344_5566_7788);
    assert_eq!(bench.tpm.read(0x82, 2), 0x5566);
    bench.tpm.write(0xff8, 8, u64::MAX);
    assert_eq!(bench.tpm.read(0xffc, 4), 0xffff_ffff);
}

#[test]
fn what_goes_wrong_is_a_failure_of_the_tpm() {
    let mut bench = Bench::new();
    for error in [TpmError::Gone, TpmError::Late, TpmError::Nonsense] {
        assert_eq!(bench.done(&GET_RANDOM, Err(error)), FAILURE);
    }
    let endless = vec![0; BUFFER_LEN + 1];
    assert_eq!(bench.done(&GET_RANDOM, Ok(endless)), FAILURE);
}

#[test]
fn a_command_of_no_possible_size_is_refused_at_once() {
    let mut bench = Bench::new();
    for size in [0u32, 9, 3969, u32::MAX] {
        let mut command = GET_RANDOM;
        command[2..6].copy_from_slice(&size.to_be_bytes());
        bench.begin(&command);
        assert_eq!(bench.register(0x4c), 0);
        assert_eq!(bench.buffer(10)[6..], [0, 0, 1, 0x42]);
    }
    assert!(bench.told.lock().unwrap().commands.is_empty());
}

#[test]
fn nothing_starts_without_the_locality() {
    let mut bench = Bench::new();
    bench.begin(&GET_RANDOM);
    bench.answers.send(Ok(FAILURE.to_vec())).unwrap();
    bench.tpm.settle();
    bench.tpm.write(0x08, 4, 2);
    bench.tpm.write(0x4c, 4, 1);
    assert_eq!(bench.register(0x4c), 0);
    assert_eq!(bench.told.lock().unwrap().commands.len(), 1);
}

#[test]
fn a_reset_forgets_the_command_under_way() {
    let mut bench = Bench::new();
    bench.begin(&GET_RANDOM);
    while bench.told.lock().unwrap().commands.is_empty() {
        std::thread::yield_now();
    }
    bench.tpm.reset();
    assert_eq!((bench.register(0x4c), bench.register(0x44)), (0, 2));
    bench.answers.send(Ok(vec![0xee; 12])).unwrap();
    bench.tpm.settle();
    assert_eq!(bench.buffer(4), [0; 4]);
    assert_eq!(bench.told.lock().unwrap().power_ons, 1);
}

#[test]
fn a_machine_that_wakes_goes_on_or_else_begins_anew() {
    let mut bench = Bench::new();
    let refused = [&FAILURE[..8], &[1, 0x2b]].concat();
    bench.answers.send(Ok(refused)).unwrap();
    bench.answers.send(Ok(FAILURE.to_vec())).unwrap();
    bench.tpm.reset();
    bench.tpm.wake();
    bench.tpm.settle();
    let told = bench.told.lock().unwrap();
    let codes: Vec<&[u8]> = told.commands.iter().map(|it| &it[6..]).collect();
    assert_eq!(codes, [[0, 0, 1, 0x44, 0, 1], [0, 0, 1, 0x44, 0, 0]]);
    assert_eq!(told.power_ons, 1);
}

#[test]
fn what_it_holds_goes_along() {
    let mut bench = Bench::new();
    bench.told.lock().unwrap().holds = Blobs {
        permanent: b"keys".to_vec(),
        volatile: b"measurements".to_vec(),
    };
    bench.done(&GET_RANDOM, Ok(FAILURE.to_vec()));
    let saved = bench.tpm.save();
    let mut other = Bench::new();
    other.tpm.restore(&saved).unwrap();
    assert_eq!(other.buffer(10), FAILURE);
    assert_eq!(other.told.lock().unwrap().holds.volatile, b"measurements");
    assert_eq!(other.tpm.save(), saved);
}

#[test]
fn a_state_that_the_tpm_does_not_take_is_refused() {
    let bench = Bench::new();
    bench.told.lock().unwrap().holds.permanent = b"of another make".to_vec();
    let saved = bench.tpm.save();
    let refused = Bench::new().tpm.restore(&saved);
    assert!(matches!(refused, Err(RestoreError::Damaged { .. })));
}

#[test]
fn power_goes_off_with_the_device() {
    let bench = Bench::new();
    let told = Arc::clone(&bench.told);
    drop(bench);
    assert_eq!(told.lock().unwrap().power_offs, 1);
}

#[test]
fn a_save_that_has_nothing_of_the_tpm_says_so() {
    let bench = Bench::new();
    bench.tpm.save();
    assert_eq!(bench.tpm.saved(), Ok(()));
    bench.told.lock().unwrap().unreadable = Some(TpmError::Gone);
    bench.tpm.save();
    assert_eq!(bench.tpm.saved(), Err(TpmError::Gone));
    bench.told.lock().unwrap().unreadable = None;
    bench.tpm.save();
    assert_eq!(bench.tpm.saved(), Ok(()));
}

#[test]
fn a_stuck_command_is_in_the_way_of_a_restore_and_of_a_save() {
    let saved = Bench::new().tpm.save();
    let mut bench = Bench::new();
    bench.begin(&GET_RANDOM);
    let refused = bench.tpm.restore(&saved);
    assert!(matches!(refused, Err(RestoreError::Damaged { .. })));
    bench.tpm.save();
    assert_eq!(bench.tpm.saved(), Err(TpmError::Late));
    bench.answers.send(Ok(FAILURE.to_vec())).unwrap();
    bench.tpm.settle();
    bench.tpm.restore(&saved).unwrap();
}
