use std::sync::Arc;

use crate::pci::{
    AssignError, BarKind, ConfigSpace, DeviceFunction, Identity, InsertError, PciFunction, PciRoot,
    PciWindows, SharedLine, intx_index,
};
use crate::testing::FakeLine;
use crate::{DeviceState, RestoreError, decode_state, encode_state};

const WINDOW: u64 = 0xc000_0000;

/// A function with one scratch register in memory and one in ports.
#[derive(Debug)]
struct Scratch {
    config: ConfigSpace,
    value: u64,
}

impl Scratch {
    fn new(len: u64) -> Scratch {
        let config = ConfigSpace::new(&Identity {
            vendor: 0x1234,
            device: 1,
            subsystem_vendor: 0,
            subsystem: 0,
            class: 0xff_00_00,
            revision: 0,
        })
        .with_bar(0, BarKind::Memory64, len)
        .with_bar(2, BarKind::Io, 0x10);
        Scratch { config, value: 0 }
    }
}

impl PciFunction for Scratch {
    fn kind(&self) -> &'static str {
        "scratch"
    }

    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_write(&mut self, offset: u16, size: u8, value: u32) {
        self.config.write(offset, size, value);
    }

    fn bar_read(&mut self, bar: u8, offset: u64, _size: u8) -> u64 {
        self.value + u64::from(bar) * 0x100 + offset
    }

    fn bar_write(&mut self, _bar: u8, _offset: u64, _size: u8, value: u64) {
        self.value = value;
    }

    fn reset(&mut self) {
        self.value = 0;
        self.config.reset();
    }

    fn save(&self) -> DeviceState {
        encode_state("scratch", 1, &(self.config.save(), self.value))
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let (config, value) = decode_state("scratch", 1, state)?;
        self.config
            .restore(&config)
            .map_err(|what| RestoreError::Damaged {
                kind: "scratch".into(),
                what,
            })?;
        self.value = value;
        Ok(())
    }
}

fn root() -> PciRoot {
    PciRoot::new(PciWindows {
        memory32: WINDOW..WINDOW + 0x10_0000,
        memory64: Some(0x40_0000_0000..0x80_0000_0000),
        io: 0xc000..0xd000,
    })
}

const SLOT: DeviceFunction = DeviceFunction::new(3, 0);

#[test]
fn the_host_bridge_is_there_and_nothing_else() {
    let root = root();
    assert_eq!(
        root.config_read(0, DeviceFunction::new(0, 0), 0, 4),
        0x0d57_8086
    );
    assert_eq!(root.config_read(0, SLOT, 0, 4), u32::MAX);
    assert_eq!(
        root.config_read(1, DeviceFunction::new(0, 0), 0, 4),
        u32::MAX
    );
}

#[test]
fn regions_are_assigned_aligned_and_answer() {
    let root = root();
    root.insert(DeviceFunction::new(2, 0), Scratch::new(0x20))
        .unwrap();
    root.insert(SLOT, Scratch::new(0x1000)).unwrap();
    root.assign_bars().unwrap();
    let base = u64::from(root.config_read(0, SLOT, 0x10, 4) & !0xf);
    assert_eq!(base % 0x1000, 0);
    assert_eq!(root.memory_read(base + 8, 4), 8);
    assert_eq!(
        root.memory_read(base + 0xffd, 4),
        u64::MAX,
        "across the region's end"
    );
    assert_eq!(root.memory_read(base + 0x1000, 4), u64::MAX);
    let port = u64::from(root.config_read(0, SLOT, 0x18, 4) & !3);
    assert_eq!(root.io_read(port + 3, 1), 0x203);
    root.memory_write(base, 4, 0x5000);
    assert_eq!(root.memory_read(base, 4), 0x5000);
}

#[test]
fn a_guest_may_move_a_region() {
    let root = root();
    root.insert(SLOT, Scratch::new(0x1000)).unwrap();
    root.assign_bars().unwrap();
    let old = u64::from(root.config_read(0, SLOT, 0x10, 4) & !0xf);
    root.config_write(0, SLOT, 0x10, 4, 0xd000_0000);
    root.config_write(0, SLOT, 0x14, 4, 7);
    assert_eq!(root.memory_read(old, 4), u64::MAX);
    assert_eq!(root.memory_read(0x7_d000_0004, 4), 4);
    root.config_write(0, SLOT, 0x04, 2, 0);
    assert_eq!(
        root.memory_read(0x7_d000_0004, 4),
        u64::MAX,
        "decoding is off"
    );
}

#[test]
fn what_does_not_fit_below_4_gib_goes_above() {
    let root = root();
    root.insert(SLOT, Scratch::new(1 << 30)).unwrap();
    root.assign_bars().unwrap();
    assert_eq!(root.config_read(0, SLOT, 0x14, 4), 0x40);
    root.insert(DeviceFunction::new(4, 0), Scratch::new(1 << 40))
        .unwrap();
    assert_eq!(root.assign_bars(), Err(AssignError { len: 1 << 40 }));
}

#[test]
fn slots_are_taken_and_freed() {
    let root = root();
    root.insert(SLOT, Scratch::new(0x1000)).unwrap();
    let taken = root.insert(SLOT, Scratch::new(0x1000));
    let error = InsertError::Taken {
        device: 3,
        function: 0,
    };
    assert_eq!(taken, Err(error));
    root.assign_bars().unwrap();
    let base = u64::from(root.config_read(0, SLOT, 0x10, 4) & !0xf);
    assert!(root.remove(SLOT).is_some());
    assert!(root.remove(SLOT).is_none());
    assert_eq!(root.memory_read(base, 4), u64::MAX);
}

#[test]
fn further_functions_mark_the_device() {
    let root = root();
    root.insert(SLOT, Scratch::new(0x1000)).unwrap();
    assert_eq!(root.config_read(0, SLOT, 0x0e, 1), 0);
    root.insert(DeviceFunction::new(3, 2), Scratch::new(0x1000))
        .unwrap();
    assert_eq!(root.config_read(0, SLOT, 0x0e, 1), 0x80);
    assert_eq!(root.config_read(0, SLOT, 0x0c, 4), 0x80_0000);
}

#[test]
fn a_reset_gives_the_same_addresses_again() {
    let root = root();
    root.insert(SLOT, Scratch::new(0x1000)).unwrap();
    root.assign_bars().unwrap();
    root.set_interrupt_line(SLOT, 19);
    let base = root.config_read(0, SLOT, 0x10, 4);
    root.config_write(0, SLOT, 0x10, 4, 0xd000_0000);
    root.reset();
    assert_eq!(root.config_read(0, SLOT, 0x10, 4), base);
    assert_eq!(root.config_read(0, SLOT, 0x3c, 1), 19);
    assert_eq!(root.memory_read(u64::from(base & !0xf) + 1, 1), 1);
}

#[test]
fn all_functions_are_restored_or_none() {
    let root = root();
    root.insert(SLOT, Scratch::new(0x1000)).unwrap();
    root.assign_bars().unwrap();
    let base = u64::from(root.config_read(0, SLOT, 0x10, 4) & !0xf);
    root.memory_write(base, 4, 0x77);
    let mut saved = root.save();
    root.memory_write(base, 4, 0x88);
    root.config_write(0, SLOT, 0x10, 4, 0xd000_0000);
    root.restore(&saved).unwrap();
    assert_eq!(root.memory_read(base, 4), 0x77);

    root.memory_write(base, 4, 0x99);
    saved[1].1.bytes.truncate(3);
    assert!(root.restore(&saved).is_err());
    assert_eq!(root.memory_read(base, 4), 0x99);
    saved.pop();
    assert!(root.restore(&saved).is_err());
}

#[test]
fn a_shared_line_is_high_while_anybody_holds_it() {
    let output = FakeLine::new();
    let wire = SharedLine::new(Arc::clone(&output) as _);
    let (first, second) = (wire.input(), wire.input());
    first.set(true);
    first.set(true);
    second.set(true);
    first.set(false);
    assert!(output.high());
    first.set(false);
    assert!(output.high());
    drop(second);
    assert!(!output.high());
    assert_eq!(output.edges(), 1);
    assert_eq!(
        [intx_index(0, 1), intx_index(3, 1), intx_index(3, 2)],
        [0, 3, 0]
    );
}

#[test]
fn a_function_that_may_go_goes_when_the_saved_bus_was_without_it() {
    let (root, at) = (root(), DeviceFunction::new(9, 0));
    let before = root.save();
    root.insert(at, Scratch::new(0x1000)).unwrap();
    assert_eq!(root.find_removable(at), Some(false));
    assert!(root.restore(&before).is_err());
    root.may_go(at);
    let with_it = root.save();
    root.restore(&before).unwrap();
    assert_eq!(root.find_removable(at), None);
    assert_eq!(root.save(), before);
    assert!(root.restore(&with_it).is_err());
}
