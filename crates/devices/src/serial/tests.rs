use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Serial;
use crate::Device;
use crate::testing::{FakeLine, FakeOutput};

fn serial() -> (Serial, Arc<FakeLine>, FakeOutput) {
    let (line, output) = (FakeLine::new(), FakeOutput::default());
    let mut serial = Serial::new(line.clone(), Box::new(output.clone()));
    serial.write(4, 1, 0x0b);
    (serial, line, output)
}

#[test]
fn bytes_go_out_as_they_are_written() {
    let (mut serial, _, output) = serial();
    for byte in b"hello" {
        serial.write(0, 1, (*byte).into());
    }
    assert_eq!(output.take(), b"hello");
    assert_eq!(serial.read(5, 1), 0x60);
}

#[test]
fn every_byte_sent_makes_an_edge_of_the_empty_interrupt() {
    let (mut serial, line, _) = serial();
    serial.write(1, 1, 0x02);
    assert!(line.high(), "enabling it while empty interrupts");
    assert_eq!(serial.read(2, 1), 0x02);
    assert!(!line.high());
    assert_eq!(serial.read(2, 1), 0x01);
    serial.write(0, 1, 0x41);
    serial.write(0, 1, 0x42);
    assert_eq!(line.edges(), 3);
}

#[test]
fn without_fifos_one_byte_fits() {
    let (mut serial, line, _) = serial();
    serial.write(1, 1, 0x01);
    assert_eq!(serial.receive(b"ab"), 1);
    assert!(line.high());
    assert_eq!((serial.read(2, 1), serial.read(5, 1)), (0x04, 0x61));
    assert_eq!(serial.read(0, 1), u64::from(b'a'));
    assert!(!line.high());
    assert_eq!(serial.read(5, 1), 0x60);
}

#[test]
fn fifos_hold_sixteen_and_trigger() {
    let (mut serial, line, _) = serial();
    let told = Arc::new(AtomicU32::new(0));
    serial.write(2, 1, 0x81);
    let count = Arc::clone(&told);
    serial.on_room(Box::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    serial.write(1, 1, 0x01);
    assert_eq!(serial.receive(b"1234567"), 7);
    assert_eq!(serial.read(2, 1), 0xcc, "below the trigger: time-out");
    assert_eq!(serial.receive(b"89abcdefghij"), 9);
    assert_eq!(serial.read(2, 1), 0xc4);
    assert_eq!(serial.room(), 0);
    for _ in 0..16 {
        assert!(line.high());
        serial.read(0, 1);
    }
    assert!(!line.high());
    assert_eq!(told.load(Ordering::Relaxed), 1);
    serial.receive(b"x");
    serial.write(2, 1, 0x83);
    assert_eq!(serial.room(), 16, "cleared");
}

#[test]
fn out2_connects_the_interrupt() {
    let (mut serial, line, _) = serial();
    serial.write(1, 1, 0x0f);
    assert!(line.high());
    serial.write(4, 1, 0x03);
    assert!(!line.high());
    assert_eq!(serial.read(2, 1), 0x02, "it is still identified");
}

#[test]
fn loopback_joins_outputs_and_inputs() {
    let (mut serial, _, output) = serial();
    serial.write(4, 1, 0x1a);
    assert_eq!(serial.read(6, 1) & 0xf0, 0x90);
    serial.write(0, 1, 0x5a);
    assert_eq!(serial.receive(b"x"), 0, "the line is cut");
    serial.write(0, 1, 0x5b);
    assert_eq!(serial.read(5, 1), 0x63, "overrun");
    assert_eq!(serial.read(5, 1), 0x61);
    assert_eq!(serial.read(0, 1), 0x5a);
    assert!(output.take().is_empty());
    serial.write(4, 1, 0x1e);
    assert_eq!(serial.read(6, 1) & 0x4f, 0x40, "RI has no leading edge");
    serial.write(4, 1, 0x0b);
    assert_eq!(serial.read(6, 1) & 0xf4, 0xb4);
}

#[test]
fn modem_changes_interrupt() {
    let (mut serial, line, _) = serial();
    serial.read(6, 1);
    serial.write(1, 1, 0x08);
    assert!(!line.high());
    serial.write(4, 1, 0x18);
    assert!(line.high());
    assert_eq!(serial.read(2, 1), 0x00);
    serial.read(6, 1);
    assert!(!line.high());
}

#[test]
fn a_break_is_an_error_of_its_byte() {
    let (mut serial, line, _) = serial();
    serial.write(2, 1, 0x01);
    serial.write(1, 1, 0x04);
    serial.receive(b"a");
    assert!(serial.receive_break());
    assert!(!line.high(), "its byte is not in front yet");
    assert_eq!(serial.read(5, 1), 0xe1);
    serial.read(0, 1);
    assert_eq!(serial.read(2, 1), 0xc6);
    assert_eq!(serial.read(5, 1), 0xf1);
    assert!(!line.high());
    assert_eq!(serial.read(0, 1), 0);
}

#[test]
fn divisor_and_scratch() {
    let (mut serial, _, output) = serial();
    serial.write(3, 1, 0x83);
    serial.write(0, 1, 0x34);
    serial.write(1, 1, 0x12);
    assert_eq!(serial.read(0, 2), 0x1234);
    serial.write(3, 1, 0x03);
    assert_eq!(serial.read(1, 1), 0);
    serial.write(7, 1, 0xa5);
    assert_eq!(serial.read(7, 1), 0xa5);
    assert!(output.take().is_empty());
}

#[derive(Debug)]
struct Broken;

impl io::Write for Broken {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::Error::from(io::ErrorKind::BrokenPipe))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_output_that_is_gone_costs_only_its_bytes() {
    let mut serial = Serial::new(FakeLine::new(), Box::new(Broken));
    serial.write(0, 1, 0x41);
    assert_eq!(serial.lost(), 1);
    assert_eq!(serial.read(5, 1), 0x60);
}

#[test]
fn any_guest_write_is_survived() {
    let (mut serial, _, _) = serial();
    for value in 0..=255u64 {
        for offset in 0..9 {
            serial.write(offset, 8, value.wrapping_mul(0x0101_0101_0101_0101));
            serial.read(offset, 8);
            serial.receive(&[1; 20]);
            serial.receive_break();
        }
    }
}
