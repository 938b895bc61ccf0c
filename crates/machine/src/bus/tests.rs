use std::sync::{Arc, Mutex};

use devices::{Device, DeviceState, RestoreError, decode_state, encode_state};

use super::{Bus, BusError, SharedDevice};

/// Sixteen bytes of memory.
#[derive(Debug, Default)]
struct Cells([u8; 16]);

impl Device for Cells {
    fn kind(&self) -> &'static str {
        "cells"
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        (0..usize::from(size)).fold(0, |value, n| {
            value | u64::from(self.0[offset as usize + n]) << (8 * n)
        })
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        for n in 0..usize::from(size) {
            self.0[offset as usize + n] = (value >> (8 * n)) as u8;
        }
    }

    fn reset(&mut self) {
        *self = Cells::default();
    }

    fn save(&self) -> DeviceState {
        encode_state("cells", 1, &self.0)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        self.0 = decode_state("cells", 1, state)?;
        Ok(())
    }
}

fn cells() -> SharedDevice {
    Arc::new(Mutex::new(Cells::default()))
}

#[test]
fn nothing_reads_all_ones() {
    let mut view = Arc::new(Bus::new(0x1_0000)).view();
    assert_eq!(view.read(0x80, 1), 0xff);
    assert_eq!(view.read(0x80, 4), 0xffff_ffff);
    assert_eq!(view.read(u64::MAX, 8), u64::MAX);
    view.write(u64::MAX, 8, 1);
}

#[test]
fn a_view_sees_a_device_attached_later() {
    let bus = Arc::new(Bus::new(0x1_0000));
    let mut view = bus.view();
    bus.attach(0x100, 16, 0, cells()).expect("free");
    view.write(0x104, 4, 0x1122_3344);
    assert_eq!(view.read(0x104, 4), 0x1122_3344);
    assert_eq!(view.read(0x105, 2), 0x2233);
    bus.detach(0x100);
    assert_eq!(view.read(0x104, 4), 0xffff_ffff);
}

#[test]
fn an_access_over_the_end_is_split() {
    let bus = Arc::new(Bus::new(0x1_0000));
    bus.attach(0x100, 16, 0, cells()).expect("free");
    bus.attach(0x110, 16, 0, cells()).expect("free");
    let mut view = bus.view();
    view.write(0x10e, 4, 0x4433_2211);
    assert_eq!(view.read(0x10e, 2), 0x2211);
    assert_eq!(view.read(0x110, 2), 0x4433);
    view.write(0x11f, 2, 0xabcd);
    assert_eq!(view.read(0x11f, 2), 0xffcd);
    assert_eq!(view.read(0x11d, 3), 0xcd_0000);
}

#[test]
fn ranges_do_not_overlap_or_leave_the_bus() {
    let bus = Arc::new(Bus::new(0x1_0000));
    bus.attach(0x100, 16, 0, cells()).expect("free");
    let taken = bus.attach(0x10f, 1, 0, cells());
    assert!(matches!(taken, Err(BusError::Taken { by: "cells", .. })));
    assert!(bus.attach(0xffff, 2, 0, cells()).is_err());
    assert!(bus.attach(u64::MAX, 2, 0, cells()).is_err());
    assert!(bus.attach(0x200, 0, 0, cells()).is_err());
}

#[test]
fn strings_go_to_one_address() {
    let bus = Arc::new(Bus::new(0x1_0000));
    bus.attach(0x100, 16, 0, cells()).expect("free");
    let mut view = bus.view();
    view.write_string(0x104, 2, &[1, 2, 3, 4]);
    let mut read = [0; 6];
    view.read_string(0x104, 2, &mut read);
    assert_eq!(read, [3, 4, 3, 4, 3, 4]);
    // Where there is nothing, and where two devices meet.
    view.read_string(0x200, 4, &mut read[..4]);
    assert_eq!(read[..4], [0xff; 4]);
    view.write_string(0x10f, 2, &[7, 8, 9, 10]);
    view.read_string(0x10f, 2, &mut read[..2]);
    assert_eq!(read[..2], [9, 0xff]);
}
