#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::sync::Arc;

use crate::Device;
use crate::pci::{
    ConfigPorts, DeviceFunction, Ecam, HostBridge, IoWindow, MemoryWindow, PciRoot, PciWindows,
};
use crate::testing::FakeLines;

const ADDRESS: u64 = 0;
const DATA: u64 = 4;

fn ports() -> (ConfigPorts, PciRoot, Arc<FakeLines>) {
    let root = PciRoot::new(PciWindows {
        memory32: 0xc000_0000..0xd000_0000,
        memory64: None,
        io: 0xc000..0xd000,
    });
    root.insert(DeviceFunction::new(1, 2), HostBridge::new())
        .unwrap();
    let lines = FakeLines::new();
    let ports = ConfigPorts::new(root.clone(), Arc::clone(&lines) as _);
    (ports, root, lines)
}

#[test]
fn mechanism_1_selects_by_address_and_byte() {
    let (mut ports, _, _) = ports();
    ports.write(ADDRESS, 4, 0x8000_0a00);
    assert_eq!(ports.read(ADDRESS, 4), 0x8000_0a00);
    assert_eq!(ports.read(DATA, 4), 0x0d57_8086);
    assert_eq!(ports.read(DATA + 2, 2), 0x0d57);
    assert_eq!(ports.read(DATA + 1, 1), 0x80);
    assert_eq!(ports.read(DATA + 1, 2), 0x5780);
}

#[test]
fn a_disabled_address_reaches_nothing() {
    let (mut ports, root, _) = ports();
    ports.write(ADDRESS, 4, 0x0000_0a04);
    assert_eq!(ports.read(DATA, 4), u64::MAX);
    ports.write(DATA, 2, 6);
    assert_eq!(root.config_read(0, DeviceFunction::new(1, 2), 4, 2), 0);
    ports.write(ADDRESS, 4, 0x8000_0a04);
    ports.write(DATA, 2, 6);
    assert_eq!(root.config_read(0, DeviceFunction::new(1, 2), 4, 2), 6);
    ports.write(ADDRESS, 4, 0x8001_0a04);
    assert_eq!(ports.read(DATA, 4), 0xffff_ffff, "another bus");
}

#[test]
fn the_address_register_takes_only_doublewords() {
    let (mut ports, _, _) = ports();
    ports.write(ADDRESS, 4, 0xffff_ffff);
    assert_eq!(ports.read(ADDRESS, 4), 0x80ff_fffc);
    ports.write(ADDRESS, 1, 0);
    ports.write(ADDRESS, 2, 0);
    ports.write(ADDRESS + 3, 1, 0);
    assert_eq!(ports.read(ADDRESS, 4), 0x80ff_fffc);
    assert_eq!(ports.read(ADDRESS, 2), u64::MAX);
}

#[test]
fn reset_control_resets_on_the_edge() {
    let (mut ports, _, lines) = ports();
    ports.write(1, 1, 0x02);
    assert_eq!(lines.resets(), 0);
    ports.write(1, 1, 0x06);
    ports.write(1, 1, 0x06);
    assert_eq!(lines.resets(), 1);
    assert_eq!(ports.read(1, 1), 0x06);
}

#[test]
fn ecam_reaches_the_same_registers() {
    let (_, root, _) = ports();
    let mut ecam = Ecam::new(root.clone());
    let at = 0x0a << 12;
    assert_eq!(ecam.read(at, 4), 0x0d57_8086);
    assert_eq!(ecam.read(at, 8) as u32, 0x0d57_8086);
    assert_eq!(ecam.read(at + 3, 1), 0x0d);
    ecam.write(at + 4, 2, 2);
    ecam.write(at + 0x3c, 8, 0x55);
    assert_eq!(root.config_read(0, DeviceFunction::new(1, 2), 4, 2), 2);
    assert_eq!(
        root.config_read(0, DeviceFunction::new(1, 2), 0x3c, 1),
        0x55
    );
    assert_eq!(ecam.read(at + 0x100, 4), 0xffff_ffff, "no extended space");
    assert_eq!(ecam.read(1 << 20, 4), 0xffff_ffff, "another bus");
    ecam.write(at + 0xffc, 8, 0);
    let _ = ecam.read(at + 0xffc, 8);
}

#[test]
fn everything_saves_and_restores() {
    let (mut ports, root, _) = ports();
    ports.write(ADDRESS, 4, 0x8000_0a04);
    ports.write(1, 1, 0x02);
    ports.write(DATA, 2, 2);
    let saved = ports.save();
    ports.reset();
    assert_eq!(ports.read(ADDRESS, 4), 0);
    ports.restore(&saved).unwrap();
    assert_eq!(ports.save(), saved);
    let mut windows: [Box<dyn Device>; 3] = [
        Box::new(Ecam::new(root.clone())),
        Box::new(MemoryWindow::new(root.clone(), 0xc000_0000)),
        Box::new(IoWindow::new(root, 0xc000)),
    ];
    for window in &mut windows {
        let saved = window.save();
        window.restore(&saved).unwrap();
        window.reset();
    }
}
