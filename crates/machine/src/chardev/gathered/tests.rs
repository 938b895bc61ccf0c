use std::io::{PipeReader, Read, Write};
use std::os::fd::OwnedFd;

use super::super::{Abandon, FdOutput};
use super::{Gathered, LONGEST};

fn gathered() -> (PipeReader, Gathered) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let output = FdOutput::impatient(OwnedFd::from(writer), Abandon::default());
    (reader, Gathered::new(output).expect("a thread"))
}

fn send(output: &mut Gathered, bytes: &[u8]) {
    for byte in bytes {
        output.write_all(&[*byte]).expect("never fails");
        output.flush().expect("never fails");
    }
}

#[test]
fn a_line_comes_whole() {
    let (mut reader, mut output) = gathered();
    // What waits longer than a line takes comes before its end; so nothing is sure but the order.
    send(&mut output, b"one line\nand another\n");
    let mut heard = Vec::new();
    while heard.len() < 21 {
        let mut buffer = [0; 64];
        let count = reader.read(&mut buffer).expect("output");
        heard.extend_from_slice(&buffer[..count]);
    }
    assert_eq!(heard, b"one line\nand another\n");
}

#[test]
fn a_prompt_does_not_wait_for_its_end() {
    let (mut reader, mut output) = gathered();
    for prompt in [&b"login: "[..], b"password: "] {
        send(&mut output, prompt);
        let mut heard = vec![0; prompt.len()];
        reader.read_exact(&mut heard).expect("the prompt");
        assert_eq!(heard, prompt);
    }
}

#[test]
fn the_end_of_the_guest_hands_on_what_there_is() {
    let (mut reader, mut output) = gathered();
    send(&mut output, b"last words");
    drop(output);
    let mut heard = Vec::new();
    reader.read_to_end(&mut heard).expect("all of it");
    assert_eq!(heard, b"last words");
}

#[test]
fn a_line_without_an_end_is_bounded() {
    let (mut reader, mut output) = gathered();
    send(&mut output, &vec![b'x'; 3 * LONGEST]);
    assert!(output.shared.gather.lock().expect("whole").held.len() < LONGEST);
    drop(output);
    let mut heard = Vec::new();
    reader.read_to_end(&mut heard).expect("all of it");
    assert_eq!(heard.len(), 3 * LONGEST);
}
