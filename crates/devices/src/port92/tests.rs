use super::{ALT_A20_GATE, INIT_NOW, Port92};
use crate::Device;
use crate::testing::FakeLines;

#[test]
fn reset_fires_on_the_rising_edge_only() {
    let lines = FakeLines::new();
    let mut port = Port92::new(lines.clone());
    port.write(0, 1, u64::from(INIT_NOW | ALT_A20_GATE));
    port.write(0, 1, u64::from(INIT_NOW | ALT_A20_GATE));
    assert_eq!(lines.resets(), 1);
}

#[test]
fn a20_follows_its_bit() {
    let lines = FakeLines::new();
    let mut port = Port92::new(lines.clone());
    port.write(0, 1, 0);
    port.write(0, 1, u64::from(ALT_A20_GATE));
    assert!(lines.a20());
    assert_eq!(port.read(0, 1), 2);
    port.write(0, 1, 0);
    assert!(!lines.a20());
}
