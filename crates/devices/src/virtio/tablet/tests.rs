use crate::virtio::testing::{Buffer, Driver};
use crate::virtio::{Tablet, TabletEvent, VirtioDevice};

fn event(x: u16, buttons: u8) -> TabletEvent {
    TabletEvent {
        x,
        y: 7,
        wheel: 0,
        buttons,
    }
}

/// Hands the guest's buffers out one by one: type, code and value of each event.
fn told(driver: &mut Driver, count: usize) -> Vec<(u16, u16, i32)> {
    let mut told = Vec::new();
    for _ in 0..count {
        let head = driver.submit(0, &[Buffer::In(8)]);
        assert_eq!(driver.answer(0), (head, 8));
        let bytes = driver.written(0, head);
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let value = i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        told.push((half(0), half(2), value));
    }
    told
}

#[test]
fn the_guest_is_told_where_the_hand_is() {
    let tablet = Tablet::new().unwrap();
    let handle = tablet.handle();
    assert!(!handle.point(event(1, 0)), "there is no driver");
    let mut driver = Driver::new(tablet);
    driver.start(0);
    assert!(handle.point(event(5, 1)));
    let expected = [(3, 0, 5), (3, 1, 7), (1, 0x110, 1), (0, 0, 0)];
    assert_eq!(told(&mut driver, 4), expected);
    assert!(handle.point(TabletEvent {
        wheel: -1,
        ..event(5, 0)
    }));
    let expected = [(3, 0, 5), (3, 1, 7), (1, 0x110, 0), (2, 8, 1), (0, 0, 0)];
    assert_eq!(told(&mut driver, 5), expected);
}

#[test]
fn a_guest_that_does_not_take_them_gets_the_newest() {
    let tablet = Tablet::new().unwrap();
    let handle = tablet.handle();
    let mut driver = Driver::new(tablet);
    driver.start(0);
    for x in 0..1000 {
        assert!(handle.point(event(x, 0)));
    }
    let first = told(&mut driver, 3);
    assert_eq!(first[0].0, 3);
    let last = if first[0] == (3, 0, 999) {
        first
    } else {
        told(&mut driver, 3)
    };
    assert_eq!(last, [(3, 0, 999), (3, 1, 7), (0, 0, 0)]);
}

#[test]
fn its_configuration_says_what_it_has() {
    let mut tablet = Tablet::new().unwrap();
    let mut ask = |select, subselect| {
        tablet.config_write(0, &[select, subselect]);
        let config = tablet.config();
        config[8..8 + usize::from(config[2])].to_vec()
    };
    assert_eq!(ask(1, 0), b"Innkeeper tablet");
    assert_eq!(ask(0x11, 3), [3]);
    assert_eq!(ask(0x11, 1)[0x22], 0x1f);
    assert_eq!(ask(0x12, 1)[4..8], [0xff, 0x7f, 0, 0]);
    assert!(ask(0x12, 9).is_empty());
    assert!(ask(0xff, 0xff).is_empty());
    assert!(tablet.restore(&[1]).is_err());
}
