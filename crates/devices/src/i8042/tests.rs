use std::sync::Arc;

use super::{I8042, MouseEvent};
use crate::Device;
use crate::testing::{FakeLine, FakeLines};

struct Bench {
    device: I8042,
    irq1: Arc<FakeLine>,
    irq12: Arc<FakeLine>,
    lines: Arc<FakeLines>,
}

fn bench() -> Bench {
    let (irq1, irq12, lines) = (FakeLine::new(), FakeLine::new(), FakeLines::new());
    Bench {
        device: I8042::new(irq1.clone(), irq12.clone(), lines.clone()),
        irq1,
        irq12,
        lines,
    }
}

impl Bench {
    fn command(&mut self, value: u64) {
        self.device.write(4, 1, value);
    }

    fn data(&mut self, value: u64) {
        self.device.write(0, 1, value);
    }

    /// Everything that there is to read.
    fn drain(&mut self) -> Vec<u64> {
        let mut bytes = Vec::new();
        while self.device.read(4, 1) & 1 != 0 && bytes.len() < 100 {
            bytes.push(self.device.read(0, 1));
        }
        bytes
    }

    fn mouse(&mut self, value: u64) -> Vec<u64> {
        self.command(0xd4);
        self.data(value);
        self.drain()
    }
}

#[test]
fn passes_the_probe_of_a_kernel() {
    let mut bench = bench();
    assert_eq!(
        bench.device.read(4, 1) & 0x15,
        0x14,
        "empty, tested, unlocked"
    );
    for (command, answer) in [
        (0xaa, 0x55),
        (0xab, 0),
        (0xa9, 0),
        (0xa4, 0xf1),
        (0x20, 0x65),
    ] {
        bench.command(command);
        assert_eq!(bench.drain(), [answer], "{command:#x}");
    }
    bench.command(0x60);
    bench.data(0x47);
    bench.command(0x20);
    assert_eq!(bench.drain(), [0x47]);
    bench.command(0xd3);
    bench.data(0xa5);
    assert_eq!(
        bench.device.read(4, 1) & 0x21,
        0x21,
        "loops back as the mouse's"
    );
    assert!(bench.irq12.high());
    assert_eq!(bench.drain(), [0xa5]);
    assert!(!bench.irq12.high());
    bench.command(0xa7);
    bench.command(0x20);
    assert_eq!(bench.drain(), [0x67]);
}

#[test]
fn the_keyboard_names_itself_and_its_codes_are_translated() {
    let mut bench = bench();
    bench.data(0xf2);
    assert_eq!(bench.drain(), [0xfa, 0xab, 0x41]);
    bench.data(0xff);
    assert_eq!(bench.drain(), [0xfa, 0xaa]);
    let edges = bench.irq1.edges();
    assert!(bench.device.key(&[0x1c]));
    assert!(bench.device.key(&[0xf0, 0x1c]));
    assert!(bench.device.key(&[0xe0, 0xf0, 0x75]));
    assert!(bench.irq1.high());
    assert_eq!(bench.drain(), [0x1e, 0x9e, 0xe0, 0xc8]);
    assert_eq!(bench.irq1.edges(), edges + 4, "an edge for each byte");
    bench.command(0x60);
    bench.data(0x05);
    bench.device.key(&[0xf0, 0x1c]);
    assert_eq!(bench.drain(), [0xf0, 0x1c]);
    bench.data(0xf2);
    assert_eq!(bench.drain(), [0xfa, 0xab, 0x83]);
}

#[test]
fn keyboard_commands_with_arguments() {
    let mut bench = bench();
    bench.command(0x60);
    bench.data(0x05);
    for (command, argument, answers) in [
        (0xed, 0x07, vec![0xfa]),
        (0xf3, 0x20, vec![0xfa]),
        (0xf0, 0x00, vec![0xfa, 0x02]),
        (0xf0, 0x03, vec![0xfe]),
        (0xf0, 0x01, vec![0xfa]),
    ] {
        bench.data(command);
        assert_eq!(bench.drain(), [0xfa]);
        bench.data(argument);
        assert_eq!(bench.drain(), answers);
    }
    bench.device.key(&[0xf0, 0x1c]);
    assert_eq!(bench.drain(), [0x9e], "set 1 of its own accord");
    bench.data(0xfe);
    assert_eq!(bench.drain(), [0x9e], "said again");
    bench.data(0xee);
    assert_eq!(bench.drain(), [0xee]);
}

#[test]
fn the_keyboard_buffer_is_finite_and_a_key_is_whole_or_lost() {
    let mut bench = bench();
    let taken = (0..20).filter(|_| bench.device.key(&[0xe0, 0x75])).count();
    assert!(taken < 10);
    assert_eq!(bench.drain().len(), 2 * taken);
    bench.data(0xf5);
    bench.drain();
    bench.device.key(&[0x1c]);
    assert!(bench.drain().is_empty(), "scanning is off");
}

#[test]
fn the_mouse_grows_a_wheel_when_asked() {
    let mut bench = bench();
    assert_eq!(bench.mouse(0xff), [0xfa, 0xaa, 0x00]);
    assert_eq!(bench.mouse(0xf2), [0xfa, 0x00]);
    for rates in [[200, 100, 80], [200, 200, 80]] {
        for rate in rates {
            bench.mouse(0xf3);
            bench.mouse(rate);
        }
    }
    assert_eq!(bench.mouse(0xf2), [0xfa, 0x04]);
    bench.device.mouse(MouseEvent::default());
    assert!(bench.drain().is_empty(), "not reporting yet");
    bench.mouse(0xf4);
    bench.device.mouse(MouseEvent {
        right: 300,
        down: 5,
        wheel: -1,
        buttons: 0x09,
    });
    assert_eq!(bench.drain(), [0x29, 255, 0xfb, 0x1f, 0x09, 45, 0, 0x10]);
    assert_eq!(bench.mouse(0xe9), [0xfa, 0x24, 2, 80]);
}

#[test]
fn the_mouse_waits_while_its_interface_is_off() {
    let mut bench = bench();
    bench.mouse(0xf4);
    bench.command(0xa7);
    bench.device.mouse(MouseEvent {
        right: i32::MAX,
        down: i32::MIN,
        ..MouseEvent::default()
    });
    assert!(bench.drain().is_empty());
    bench.command(0xa8);
    assert_eq!(bench.drain().first(), Some(&0x08));
}

#[test]
fn a20_and_reset() {
    let mut bench = bench();
    bench.command(0xd1);
    bench.data(0xdf);
    assert!(bench.lines.a20());
    bench.command(0xd0);
    assert_eq!(bench.drain(), [0x03]);
    bench.command(0xdd);
    assert!(!bench.lines.a20());
    assert_eq!(bench.lines.resets(), 0);
    bench.command(0xff);
    bench.command(0xfe);
    bench.command(0xd1);
    bench.data(0x02);
    assert_eq!(bench.lines.resets(), 2);
}

#[test]
fn any_guest_write_is_survived() {
    let mut bench = bench();
    for command in 0..=255 {
        for value in 0..=255 {
            bench.command(command);
            bench.data(value);
            bench.data(value ^ command);
            bench.device.key(&[0xe0, 0xf0, 0x7f]);
            bench.device.mouse(MouseEvent {
                right: 1000,
                wheel: 9,
                ..MouseEvent::default()
            });
            if value % 3 == 0 {
                bench.device.read(0, 8);
            }
        }
    }
}
