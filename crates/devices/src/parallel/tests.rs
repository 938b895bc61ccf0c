use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Paper, Parallel};
use crate::Device;
use crate::testing::FakeLine;

const IDLE: u64 = 0xdf;
const OUT_OF_PAPER: u64 = 0xf7;

/// A file of the host's that goes with the test.
struct Printed(PathBuf);

impl Printed {
    fn new(name: &str, before: &[u8]) -> Printed {
        let name = format!("parallel-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, before).unwrap();
        Printed(path)
    }

    fn port(&self, limit: u64) -> (Parallel, Arc<FakeLine>) {
        let file = File::options().append(true).open(&self.0).unwrap();
        let line = FakeLine::new();
        let paper = Paper::new(file, limit).unwrap();
        (Parallel::new(line.clone(), paper), line)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut file = File::open(&self.0).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }
}

impl Drop for Printed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn print(port: &mut Parallel, bytes: &[u8]) {
    for byte in bytes {
        port.write(0, 1, (*byte).into());
        let control = port.read(2, 1);
        port.write(2, 1, control | 1);
        port.write(2, 1, control & !1);
    }
}

#[test]
fn what_is_strobed_is_appended() {
    let printed = Printed::new("appended", b"before, ");
    let (mut port, line) = printed.port(100);
    assert_eq!(port.read(1, 1), IDLE);
    print(&mut port, b"hello");
    assert_eq!(printed.bytes(), b"before, hello");
    assert_eq!((port.read(1, 1), line.edges()), (IDLE, 0));
}

#[test]
fn a_strobe_is_an_edge_and_data_alone_is_nothing() {
    let printed = Printed::new("edge", b"");
    let (mut port, _) = printed.port(100);
    port.write(0, 1, 0x41);
    assert_eq!(printed.bytes(), b"");
    port.write(2, 1, 0x0d);
    port.write(2, 1, 0x0d);
    port.write(0, 1, 0x42);
    assert_eq!(printed.bytes(), b"A");
}

#[test]
fn a_printer_that_is_being_reset_takes_nothing() {
    let printed = Printed::new("reset", b"");
    let (mut port, _) = printed.port(100);
    port.write(2, 1, 0x08);
    print(&mut port, b"lost");
    port.write(2, 1, 0x0c);
    print(&mut port, b"kept");
    assert_eq!(printed.bytes(), b"kept");
}

#[test]
fn lines_that_are_inputs_are_not_driven() {
    let printed = Printed::new("input", b"");
    let (mut port, _) = printed.port(100);
    port.write(0, 1, 0x55);
    assert_eq!(port.read(0, 1), 0x55);
    port.write(2, 1, 0x2c);
    assert_eq!(port.read(0, 1), 0xff);
    print(&mut port, b"lost");
    port.write(2, 1, 0x0c);
    assert_eq!(printed.bytes(), b"");
}

#[test]
fn each_byte_is_an_edge_of_the_interrupt_where_that_is_wanted() {
    let printed = Printed::new("interrupt", b"");
    let (mut port, line) = printed.port(100);
    port.write(2, 1, 0x1c);
    assert!(!line.high(), "nothing was acknowledged yet");
    print(&mut port, b"abc");
    assert_eq!(line.edges(), 3);
    assert!(line.high());
    assert_eq!(port.read(1, 1), IDLE & !4);
    assert!(!line.high(), "whoever looks has seen it");
    assert_eq!(port.read(1, 1), IDLE);
    print(&mut port, b"d");
    port.write(2, 1, 0x0c);
    assert!(!line.high(), "nobody wants to be told any more");
}

#[test]
fn paper_has_an_end_and_a_file_that_was_emptied_is_new_paper() {
    let printed = Printed::new("limit", b"12345");
    let (mut port, _) = printed.port(8);
    print(&mut port, b"678");
    assert_eq!(port.read(1, 1), OUT_OF_PAPER);
    print(&mut port, b"lost");
    assert_eq!(printed.bytes(), b"12345678");
    std::fs::write(&printed.0, b"").unwrap();
    assert_eq!(port.read(1, 1), IDLE);
    print(&mut port, b"more");
    assert_eq!(printed.bytes(), b"more");
}

#[test]
fn a_disk_without_room_is_no_paper_until_it_has_some() {
    // Takes nothing, whoever asks.
    let full = File::options().append(true).open("/dev/full").unwrap();
    let paper = Paper::new(full, 100).unwrap();
    let mut port = Parallel::new(FakeLine::new(), paper);
    assert_eq!(port.read(1, 1), IDLE);
    print(&mut port, b"a");
    assert_eq!(port.read(1, 1), OUT_OF_PAPER);
}

#[test]
fn without_paper_nothing_is_printed() {
    let mut port = Parallel::new(FakeLine::new(), Paper::none());
    print(&mut port, b"a");
    assert_eq!(port.read(1, 1), OUT_OF_PAPER);
}
