use std::sync::Arc;

use super::{AcpiCpus, AcpiCpusParts, COMES, EJECT, FLAGS, GOES, PRESENT, SELECT};
use crate::testing::FakeLine;
use crate::{Device, Line};

struct Board {
    device: AcpiCpus,
    presence: Vec<Arc<FakeLine>>,
    event: Arc<FakeLine>,
}

/// Two of four processors are there.
fn board() -> Board {
    let presence: Vec<_> = (0..4).map(|_| FakeLine::new()).collect();
    let event = FakeLine::new();
    let lines = presence
        .iter()
        .map(|line| Arc::clone(line) as Arc<dyn Line>);
    let parts = AcpiCpusParts {
        presence: lines.collect(),
        event: Arc::clone(&event) as _,
    };
    Board {
        device: AcpiCpus::new(2, parts),
        presence,
        event,
    }
}

impl Board {
    fn flags(&mut self, processor: u64) -> u8 {
        self.device.write(SELECT, 4, processor);
        u8::try_from(self.device.read(FLAGS, 1)).unwrap()
    }

    fn write(&mut self, processor: u64, flags: u8) {
        self.device.write(SELECT, 4, processor);
        self.device.write(FLAGS, 1, flags.into());
    }

    fn lines(&self) -> Vec<bool> {
        self.presence.iter().map(|line| line.high()).collect()
    }
}

#[test]
fn a_processor_comes_with_an_event_and_is_there_at_once() {
    let mut board = board();
    assert_eq!(board.lines(), [true, true, false, false]);
    board.device.want(3);
    assert_eq!(board.event.edges(), 1);
    assert_eq!(board.flags(2), PRESENT | COMES);
    assert_eq!((board.flags(1), board.flags(3)), (PRESENT, 0));
    assert_eq!(board.lines(), [true, true, true, false]);
    board.write(2, COMES);
    assert_eq!(board.flags(2), PRESENT);
}

#[test]
fn a_processor_goes_when_the_guest_lets_go_of_it() {
    let mut board = board();
    board.device.want(1);
    assert_eq!(board.flags(1), PRESENT | GOES);
    assert!(board.presence[1].high());
    board.write(1, GOES);
    board.write(1, EJECT);
    assert_eq!(board.flags(1), 0);
    assert_eq!(board.lines(), [true, false, false, false]);
    assert_eq!(board.device.present(), [true, false, false, false]);
}

#[test]
fn the_first_processor_stays() {
    let mut board = board();
    board.device.want(0);
    board.write(0, EJECT);
    assert_eq!(board.flags(0), PRESENT);
    assert!(board.presence[0].high());
}

#[test]
fn processors_that_there_cannot_be_have_no_flags() {
    let mut board = board();
    for processor in [4, u64::from(u32::MAX)] {
        board.write(processor, 0xff);
        assert_eq!(board.flags(processor), 0);
    }
    assert_eq!(board.lines(), [true, true, false, false]);
}

#[test]
fn a_reset_leaves_processors_where_they_are() {
    let mut board = board();
    board.device.want(3);
    board.device.reset();
    assert_eq!(board.flags(2), PRESENT);
    assert_eq!(board.lines(), [true, true, true, false]);
}
