use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Swtpm, TpmError};
use crate::tpm::{Backend, Blobs};
use crate::virtio::Doorbell;

const COMMAND: [u8; 10] = [0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x81];
const INIT: [u8; 8] = [0, 0, 0, 2, 0, 0, 0, 0];
const ANSWER: [u8; 12] = [0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 7, 7];

struct Process {
    data: UnixStream,
    control: UnixStream,
}

impl Process {
    fn new() -> (Swtpm, Process) {
        let (ours, data) = UnixStream::pair().unwrap();
        let (control, theirs) = UnixStream::pair().unwrap();
        let client = Swtpm::new(ours.into(), control.into());
        let process = Process {
            data,
            control: theirs,
        };
        (client, process)
    }

    /// Of a TPM that has power, and has said nothing yet.
    fn powered() -> (Swtpm, Process) {
        let (mut client, mut process) = Process::new();
        process.says(&[0]);
        client.power_on().unwrap();
        assert_eq!(process.hears(8), INIT);
        (client, process)
    }

    fn hears(&mut self, count: usize) -> Vec<u8> {
        let mut request = vec![0; count];
        self.control.read_exact(&mut request).unwrap();
        request
    }

    fn says(&mut self, numbers: &[u32]) {
        let bytes: Vec<u8> = numbers.iter().flat_map(|it| it.to_be_bytes()).collect();
        self.control.write_all(&bytes).unwrap();
    }

    /// In a thread of its own.
    fn acts(self, how: impl FnOnce(Process) + Send + 'static) -> JoinHandle<()> {
        thread::spawn(move || how(self))
    }
}

fn execute(client: &mut Swtpm) -> Result<Vec<u8>, TpmError> {
    client.execute(&COMMAND, &Doorbell::new().unwrap())
}

#[test]
fn a_command_goes_there_and_its_answer_comes_back() {
    let (mut client, mut process) = Process::powered();
    process.data.write_all(&ANSWER[..3]).unwrap();
    let other = process.acts(|mut it| {
        let mut command = [0; 10];
        it.data.read_exact(&mut command).unwrap();
        assert_eq!(command, COMMAND);
        // In two pieces.
        it.data.write_all(&ANSWER[3..]).unwrap();
    });
    assert_eq!(execute(&mut client), Ok(ANSWER.to_vec()));
    other.join().unwrap();
}

#[test]
fn one_that_has_ended_is_gone_at_once() {
    let (mut client, process) = Process::powered();
    drop(process);
    assert_eq!(execute(&mut client), Err(TpmError::Gone));
    assert_eq!(client.power_on(), Err(TpmError::Gone));
    assert!(client.save().is_err());
    client.power_off();
}

#[test]
fn nonsense_is_believed_once() {
    for size in [0u32, 9, 4096, u32::MAX] {
        let (mut client, mut process) = Process::powered();
        let mut answer = ANSWER;
        answer[2..6].copy_from_slice(&size.to_be_bytes());
        process.data.write_all(&answer).unwrap();
        assert_eq!(execute(&mut client), Err(TpmError::Nonsense));
        // What follows is not looked at.
        process.data.write_all(&ANSWER).unwrap();
        assert_eq!(execute(&mut client), Err(TpmError::Nonsense));
    }
}

#[test]
fn power_brings_both_back_into_step() {
    let (mut client, mut process) = Process::powered();
    process.data.write_all(&[0; 64]).unwrap();
    assert_eq!(execute(&mut client), Err(TpmError::Nonsense));
    process.says(&[0]);
    client.power_on().unwrap();
    assert_eq!(process.hears(8), INIT);
    process.data.write_all(&ANSWER).unwrap();
    assert_eq!(execute(&mut client), Ok(ANSWER.to_vec()));
}

#[test]
fn whoever_is_hurried_does_not_wait_and_hears_no_old_answer() {
    let (mut client, mut process) = Process::powered();
    let hurry = Doorbell::new().unwrap();
    hurry.ring();
    let began = Instant::now();
    let answer = client.execute(&COMMAND, &hurry);
    assert_eq!(answer, Err(TpmError::Interrupted));
    assert!(began.elapsed() < Duration::from_secs(5));
    let mut second = ANSWER;
    second[11] = 9;
    process.data.write_all(&[ANSWER, second].concat()).unwrap();
    assert_eq!(execute(&mut client), Ok(second.to_vec()));
}

#[test]
fn a_tpm_with_power_is_shut_down_before_it_loses_it() {
    let (mut client, mut process) = Process::new();
    process.says(&[0]);
    client.power_on().unwrap();
    process.data.write_all(&ANSWER).unwrap();
    process.says(&[0]);
    client.power_on().unwrap();
    let mut heard = [0; 12];
    process.data.read_exact(&mut heard).unwrap();
    assert_eq!(heard[6..], [0, 0, 1, 0x45, 0, 0]);
}

#[test]
fn what_it_holds_is_asked_for_in_pieces() {
    let (mut client, mut process) = Process::new();
    let other = process_with_state(&mut process, b"permanent", b"volatile");
    let found = client.save().unwrap();
    assert_eq!(found.permanent, b"permanent");
    assert_eq!(found.volatile, b"volatile");
    assert_eq!(other, 4);
    // The kind, and where it goes on.
    for (kind, offset) in [(1u8, 0u8), (1, 4), (2, 0), (2, 4)] {
        let request = process.hears(16);
        assert_eq!((request[11], request[15]), (kind, offset));
    }
}

/// Each in two pieces. Answers how many answers there are.
fn process_with_state(process: &mut Process, permanent: &[u8], volatile: &[u8]) -> usize {
    let mut count = 0;
    for blob in [permanent, volatile] {
        for piece in [&blob[..4], &blob[4..]] {
            process.says(&[0, 0, blob.len() as u32, piece.len() as u32]);
            process.control.write_all(piece).unwrap();
            count += 1;
        }
    }
    count
}

#[test]
fn a_state_without_end_is_refused() {
    for numbers in [
        [0, 0, u32::MAX, 1],
        [0, 0, 8, 9],
        [0, 0, 8, 0],
        [0, 0, 1 << 21, 1 << 21],
    ] {
        let (mut client, mut process) = Process::new();
        process.says(&numbers);
        assert_eq!(client.save(), Err(TpmError::Nonsense));
        // It is not asked again.
        assert_eq!(client.power_on(), Err(TpmError::Nonsense));
    }
}

#[test]
fn a_restored_one_has_its_state_before_it_has_power() {
    let (mut client, mut process) = Process::new();
    process.says(&[0, 0, 0, 0]);
    let blobs = Blobs {
        permanent: b"abc".to_vec(),
        volatile: b"de".to_vec(),
    };
    client.restore(&blobs).unwrap();
    assert_eq!(process.hears(4), [0, 0, 0, 14]);
    let words = process.hears(16 + 3);
    assert_eq!((words[3], words[11], words[15]), (13, 1, 3));
    assert_eq!(&words[16..], b"abc");
    let words = process.hears(16 + 2);
    assert_eq!((words[3], words[11], words[15]), (13, 2, 2));
    assert_eq!(process.hears(8), [0, 0, 0, 2, 0, 0, 0, 1]);
}

#[test]
fn a_refusal_says_what_was_refused() {
    let (mut client, mut process) = Process::new();
    process.says(&[9]);
    let refused = TpmError::Refused {
        command: 2,
        code: 9,
    };
    assert_eq!(client.power_on(), Err(refused));
}

#[test]
fn one_without_power_serves_no_command() {
    let (mut client, mut process) = Process::powered();
    client.patience.control = Duration::from_millis(50);
    client.last = super::SHUTDOWN;
    assert_eq!(client.power_on(), Err(TpmError::Late));
    // It has what was measured before.
    process.data.write_all(&ANSWER).unwrap();
    assert_eq!(execute(&mut client), Err(TpmError::Gone));
    // It is late once more.
    assert_eq!(client.power_on(), Err(TpmError::Late));
    assert_eq!(execute(&mut client), Err(TpmError::Gone));
    // The first, that it refused, and the second.
    process.says(&[9, 0]);
    client.power_on().unwrap();
    assert_eq!(process.hears(16), [INIT, INIT].concat());
    process.data.write_all(&ANSWER).unwrap();
    assert_eq!(execute(&mut client), Ok(ANSWER.to_vec()));
}

#[test]
fn a_late_answer_is_not_taken_for_the_next_ones() {
    let (mut client, mut process) = Process::powered();
    client.patience.control = Duration::from_millis(50);
    // It stops within the second number, and then within what follows.
    process.control.write_all(&[0; 6]).unwrap();
    assert_eq!(client.save(), Err(TpmError::Late));
    process.control.write_all(&[0; 2]).unwrap();
    process.says(&[4, 4]);
    process.control.write_all(b"ol").unwrap();
    assert_eq!(client.save(), Err(TpmError::Late));
    process.control.write_all(b"ds").unwrap();
    process_with_state(&mut process, b"permanent", b"volatile");
    let found = client.save().unwrap();
    assert_eq!(found.permanent, b"permanent");
    assert_eq!(found.volatile, b"volatile");
}

#[test]
fn a_request_that_swtpm_has_half_of_is_sent_to_its_end() {
    let (mut client, mut process) = Process::powered();
    client.patience.control = Duration::from_millis(50);
    let blobs = Blobs {
        permanent: vec![5; 1 << 20],
        volatile: Vec::new(),
    };
    process.says(&[0]);
    assert_eq!(client.restore(&blobs), Err(TpmError::Late));
    client.patience.control = Duration::from_secs(15);
    let other = process.acts(|mut it| {
        it.hears(4 + 16 + (1 << 20));
        it.says(&[0]);
        assert_eq!(it.hears(8), INIT);
        it.says(&[0]);
    });
    client.power_on().unwrap();
    other.join().unwrap();
}

#[test]
fn a_machine_that_begins_waits_for_a_command_of_the_one_before() {
    let (mut client, process) = Process::new();
    client.patience.control = Duration::from_millis(50);
    let other = process.acts(|mut it| {
        assert_eq!(it.hears(8), INIT);
        thread::sleep(Duration::from_millis(300));
        it.says(&[0]);
    });
    client.begin().unwrap();
    other.join().unwrap();
    assert_eq!(client.patience.control, Duration::from_millis(50));
}

#[test]
fn whoever_is_hurried_does_not_wait_long_for_the_rest_of_an_answer() {
    let (mut client, mut process) = Process::powered();
    client.patience.hurried = Duration::from_millis(50);
    let hurry = Doorbell::new().unwrap();
    hurry.ring();
    process.data.write_all(&ANSWER[..3]).unwrap();
    let began = Instant::now();
    assert_eq!(client.execute(&COMMAND, &hurry), Err(TpmError::Late));
    assert!(began.elapsed() < Duration::from_secs(5));
}
