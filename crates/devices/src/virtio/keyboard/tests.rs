use super::presses;
use crate::virtio::testing::{Buffer, Driver};
use crate::virtio::{Keyboard, VirtioDevice};

#[test]
fn keys_have_linuxs_numbers() {
    for (codes, expected) in [
        (&[0x1c][..], &[(30, true)][..]),
        (&[0xf0, 0x1c], &[(30, false)]),
        (&[0x83], &[(65, true)]),
        (&[0x58], &[(58, true)]),
        (&[0x61], &[(86, true)]),
        (&[0xe0, 0x75], &[(103, true)]),
        (&[0xe0, 0xf0, 0x75], &[(103, false)]),
        (&[0xe0, 0x12, 0xe0, 0x7c], &[(99, true)]),
        (&[0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12], &[(99, false)]),
        (
            &[0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77],
            &[(119, true), (119, false)],
        ),
        (&[0x6a], &[(124, true)]),
        (&[0xe0, 0xff, 0x00, 0xf0], &[]),
    ] {
        assert_eq!(presses(codes), expected, "{codes:x?}");
    }
}

#[test]
fn the_guest_is_told_of_keys_once_it_has_a_driver() {
    let keyboard = Keyboard::new().unwrap();
    let handle = keyboard.handle();
    assert_eq!(handle.key(&[0x1c]), None);
    let mut driver = Driver::new(keyboard);
    driver.start(0);
    assert_eq!(handle.key(&[0x1c]), Some(true));
    assert_eq!(handle.key(&[0xf0, 0x1c]), Some(true));
    for expected in [
        [1, 0, 30, 0, 1, 0, 0, 0],
        [0; 8],
        [1, 0, 30, 0, 0, 0, 0, 0],
        [0; 8],
    ] {
        let head = driver.submit(0, &[Buffer::In(8)]);
        assert_eq!(driver.answer(0), (head, 8));
        assert_eq!(driver.written(0, head), expected);
    }
    // A guest that takes none has room for some.
    let taken = (0..1000)
        .filter(|_| handle.key(&[0x1c]) == Some(true))
        .count();
    assert_eq!(taken, 64);
}

#[test]
fn its_configuration_says_what_it_has() {
    let mut keyboard = Keyboard::new().unwrap();
    let mut ask = |select, subselect| {
        keyboard.config_write(0, &[select, subselect]);
        let config = keyboard.config();
        config[8..8 + usize::from(config[2])].to_vec()
    };
    assert_eq!(ask(1, 0), b"Innkeeper keyboard");
    assert_eq!(ask(0x11, 1).len(), 18);
    assert_eq!(ask(0x11, 0x11), [7]);
    assert_eq!(ask(0x11, 0x14), [0]);
    assert!(ask(0x12, 0).is_empty());
    assert!(keyboard.restore(&[1, 2, 3]).is_err());
}
