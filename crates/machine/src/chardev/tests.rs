use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::{Abandon, FdOutput, Input, InputThread, Waker};

#[test]
fn a_reader_that_is_gone_is_ignored() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut output = FdOutput::impatient(OwnedFd::from(writer), Abandon::default());
    output.write_all(b"to somebody").expect("never fails");
    drop(reader);
    output.write_all(b"to nobody").expect("never fails");
    assert!(output.closed);
}

#[test]
fn a_reader_that_stalled_is_written_to_again_when_it_reads() {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut output = FdOutput::impatient(OwnedFd::from(writer), Abandon::default());
    output.patience = Some(Duration::ZERO);
    // More than a pipe holds: the rest is dropped at once.
    output.write_all(&vec![b'x'; 1 << 21]).expect("never fails");
    assert!(output.stalled);
    let mut buffer = vec![0; 1 << 21];
    let count = reader.read(&mut buffer).expect("what fitted");
    assert!(count > 0 && count < 1 << 21);
    output.write_all(b"again").expect("never fails");
    assert!(!output.stalled);
}

#[test]
fn input_waits_for_room_and_nothing_is_lost() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let (sender, receiver) = channel();
    let mut full = true;
    // One byte at a time, and only every second time.
    let sink = move |bytes: &[u8]| {
        full = !full;
        if full {
            return 0;
        }
        sender.send(bytes[0]).expect("a listener");
        1
    };
    let input = Input::new(OwnedFd::from(reader), Box::new(sink));
    let thread =
        InputThread::start(vec![input], Waker::new().expect("a descriptor")).expect("a thread");
    writer.write_all(b"abc").expect("room");
    let patience = Duration::from_secs(10);
    let heard: Vec<u8> = (0..3)
        .map(|_| receiver.recv_timeout(patience).expect("a byte"))
        .collect();
    assert_eq!(heard, b"abc");
    assert_eq!(thread.stop().len(), 1);
}

#[test]
fn the_end_of_input_does_not_keep_the_thread_busy_or_stuck() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(writer);
    let input = Input::new(OwnedFd::from(reader), Box::new(<[u8]>::len));
    let thread =
        InputThread::start(vec![input], Waker::new().expect("a descriptor")).expect("a thread");
    std::thread::sleep(Duration::from_millis(20));
    assert!(thread.stop()[0].ended);
}
