use std::sync::Arc;

use super::PirqRouter;
use crate::Line;
use crate::testing::FakeLine;

fn router() -> (Arc<PirqRouter>, Vec<Arc<FakeLine>>) {
    let irqs: Vec<Arc<FakeLine>> = (0..16).map(|_| FakeLine::new()).collect();
    let ends = irqs.iter().map(|irq| Arc::clone(irq) as Arc<dyn Line>);
    (PirqRouter::new(ends.collect()), irqs)
}

#[test]
fn a_wire_drives_what_its_register_says() {
    let (router, irqs) = router();
    let wires = router.wires();
    let (a, b) = (wires[0].input(), wires[1].input());
    a.set(true);
    assert!(irqs.iter().all(|irq| !irq.high()));
    router.route([10, 10, 11, 0x80]);
    assert!(irqs[10].high());
    b.set(true);
    a.set(false);
    assert!(irqs[10].high());
    router.route([10, 11, 11, 0x80]);
    assert!(!irqs[10].high());
    assert!(irqs[11].high());
    b.set(false);
    assert!(!irqs[11].high());
}

#[test]
fn the_board_keeps_its_own_interrupts() {
    let (router, irqs) = router();
    let wire = router.wires()[0].input();
    router.route([8, 0, 2, 13]);
    wire.set(true);
    assert!(irqs.iter().all(|irq| !irq.high()));
}
