use std::sync::{Arc, Mutex};

use super::{I440fx, SEGMENTS, Shadow, ShadowMap};
use crate::pci::PciFunction;
use crate::ports::locked;

#[derive(Debug, Default)]
struct Seen(Mutex<Vec<[Shadow; SEGMENTS.len()]>>);

impl ShadowMap for Seen {
    fn set(&self, shadows: &[Shadow; SEGMENTS.len()]) {
        locked(&self.0).push(*shadows);
    }
}

const ROM: Shadow = Shadow {
    read_ram: false,
    write_ram: false,
};
const RAM: Shadow = Shadow {
    read_ram: true,
    write_ram: true,
};

#[test]
fn each_half_of_a_register_is_a_segment() {
    let seen = Arc::new(Seen::default());
    let mut bridge = I440fx::new(Arc::clone(&seen) as _);
    bridge.config_write(0x59, 1, 0x3f);
    bridge.config_write(0x5a, 1, 0x03);
    bridge.config_write(0x5f, 1, 0x10);
    bridge.reset();
    let seen = locked(&seen.0);
    assert_eq!(seen[0], [ROM; 13]);
    assert_eq!(seen[1][12], RAM);
    assert_eq!(seen[2][..3], [RAM, ROM, ROM]);
    assert_eq!(
        seen[3][11],
        Shadow {
            read_ram: true,
            write_ram: false
        }
    );
    assert_eq!(seen[4], [ROM; 13]);
    assert_eq!(bridge.config_read(0x59, 1), 0);
}

#[test]
fn segments_lie_one_behind_the_other() {
    let mut next = 0xc_0000;
    for segment in SEGMENTS {
        assert_eq!(segment.first, next);
        next += segment.len;
    }
    assert_eq!(next, 0x10_0000);
}

#[test]
fn what_was_saved_is_shown_again() {
    let mut bridge = I440fx::new(Arc::new(Seen::default()));
    bridge.config_write(0x59, 1, 0x10);
    let saved = bridge.save();
    let seen = Arc::new(Seen::default());
    let mut other = I440fx::new(Arc::clone(&seen) as _);
    other.restore(&saved).unwrap();
    assert!(locked(&seen.0)[1][12].read_ram);
}
