use super::Pic;
use crate::Device;
use crate::testing::FakeLine;

/// A PIC as a PC BIOS leaves it: vectors 08h and 70h, nothing masked.
fn pic() -> Pic {
    let mut pic = Pic::new(FakeLine::new());
    for (base, vectors, cascade) in [(0u64, 0x08, 0x04), (0x10, 0x70, 0x02)] {
        pic.write(base, 1, 0x11);
        pic.write(base + 1, 1, vectors);
        pic.write(base + 1, 1, cascade);
        pic.write(base + 1, 1, 0x01);
    }
    pic
}

fn pulse(pic: &mut Pic, irq: u8) {
    pic.set_irq(irq, true);
    pic.set_irq(irq, false);
}

#[test]
fn more_urgent_requests_nest_and_less_urgent_ones_wait() {
    let mut pic = pic();
    pulse(&mut pic, 4);
    assert_eq!(pic.acknowledge(), 0x0c);
    pulse(&mut pic, 6);
    assert!(!pic.has_interrupt());
    pulse(&mut pic, 1);
    assert!(pic.has_interrupt());
    assert_eq!(pic.acknowledge(), 0x09);
    pic.write(0, 1, 0x20);
    assert!(!pic.has_interrupt(), "IRQ4 is still in service");
    pic.write(0, 1, 0x20);
    assert_eq!(pic.acknowledge(), 0x0e);
}

#[test]
fn the_slave_interrupts_through_the_cascade() {
    let line = FakeLine::new();
    let mut pic = Pic::new(line.clone());
    for base in [0u64, 0x10] {
        pic.write(base, 1, 0x11);
        pic.write(base + 1, 1, 0x20 + base / 2);
        pic.write(base + 1, 1, 2);
        pic.write(base + 1, 1, 1);
    }
    pulse(&mut pic, 8);
    assert!(line.high());
    assert_eq!(pic.acknowledge(), 0x28);
    assert!(!line.high());
    pulse(&mut pic, 12);
    pic.write(0x10, 1, 0x20);
    assert!(!line.high(), "the master still serves the cascade");
    pic.write(0, 1, 0x20);
    assert_eq!(pic.acknowledge(), 0x2c);
}

#[test]
fn special_fully_nested_mode_lets_the_slave_nest() {
    let mut pic = pic();
    pic.write(0, 1, 0x11);
    for word in [0x08, 0x04, 0x11] {
        pic.write(1, 1, word);
    }
    pulse(&mut pic, 12);
    assert_eq!(pic.acknowledge(), 0x74);
    pulse(&mut pic, 8);
    assert!(pic.has_interrupt());
    assert_eq!(pic.acknowledge(), 0x70);
}

#[test]
fn masked_requests_wait_and_the_mask_reads_back() {
    let mut pic = pic();
    pic.write(1, 1, 0xfb);
    pulse(&mut pic, 0);
    assert!(!pic.has_interrupt());
    assert_eq!((pic.read(1, 1), pic.read(0, 1)), (0xfb, 0x01));
    pic.write(1, 1, 0xfa);
    assert_eq!(pic.acknowledge(), 0x08);
    pic.write(0, 1, 0x0b);
    assert_eq!(pic.read(0, 1), 0x01, "in service");
}

#[test]
fn an_edge_interrupts_once_and_a_level_again_and_again() {
    let mut pic = pic();
    pic.set_irq(5, true);
    assert_eq!(pic.acknowledge(), 0x0d);
    pic.write(0, 1, 0x65);
    assert!(!pic.has_interrupt());
    pic.set_irq(5, false);

    pic.write(0x20, 1, 0xff);
    assert_eq!(pic.read(0x20, 2), 0x00f8);
    pic.set_irq(5, true);
    assert_eq!(pic.acknowledge(), 0x0d);
    pic.write(0, 1, 0x65);
    assert!(pic.has_interrupt());
    pic.set_irq(5, false);
    assert!(!pic.has_interrupt());
}

#[test]
fn a_request_that_went_away_is_spurious() {
    let mut pic = pic();
    pic.write(0x20, 1, 0x20);
    pic.set_irq(5, true);
    pic.set_irq(5, false);
    assert_eq!(pic.acknowledge(), 0x0f);
    pic.write(0, 1, 0x0b);
    assert_eq!(pic.read(0, 1), 0, "nothing in service");
}

#[test]
fn rotation_moves_the_served_input_to_the_end() {
    let mut pic = pic();
    pulse(&mut pic, 3);
    assert_eq!(pic.acknowledge(), 0x0b);
    pic.write(0, 1, 0xa0);
    pulse(&mut pic, 3);
    pulse(&mut pic, 7);
    assert_eq!(pic.acknowledge(), 0x0f);
    pic.write(0, 1, 0x20);
    assert_eq!(pic.acknowledge(), 0x0b);
    pic.write(0, 1, 0xc7);
    pic.write(0, 1, 0x20);
    pulse(&mut pic, 0);
    assert_eq!(pic.acknowledge(), 0x08);
}

#[test]
fn special_mask_mode_lets_less_urgent_requests_through() {
    let mut pic = pic();
    pulse(&mut pic, 1);
    pic.acknowledge();
    pic.write(1, 1, 0x02);
    pulse(&mut pic, 6);
    assert!(!pic.has_interrupt());
    pic.write(0, 1, 0x68);
    assert_eq!(pic.acknowledge(), 0x0e);
}

#[test]
fn auto_eoi_keeps_nothing_in_service() {
    let mut pic = pic();
    pic.write(0, 1, 0x11);
    for word in [0x30, 0x04, 0x03] {
        pic.write(1, 1, word);
    }
    pulse(&mut pic, 2);
    assert!(!pic.has_interrupt(), "the cascade is nobody's input");
    pulse(&mut pic, 7);
    assert_eq!(pic.acknowledge(), 0x37);
    pulse(&mut pic, 7);
    assert!(pic.has_interrupt());
}

#[test]
fn poll_acknowledges() {
    let mut pic = pic();
    pulse(&mut pic, 6);
    pic.write(0, 1, 0x0c);
    assert_eq!(pic.read(0, 1), 0x86);
    assert!(!pic.has_interrupt());
    pic.write(0, 1, 0x0c);
    assert_eq!(pic.read(0, 1), 7);
}

#[test]
fn any_guest_write_is_survived() {
    let mut pic = pic();
    for value in 0..=255u64 {
        for offset in [0, 1, 0x10, 0x11, 0x20, 0x21, 0x99] {
            pic.write(offset, 8, value.wrapping_mul(0x0101_0101_0101_0101));
            pic.read(offset, 4);
            pic.set_irq(u8::try_from(value).unwrap_or(0), value & 1 != 0);
            pic.acknowledge();
        }
    }
}
