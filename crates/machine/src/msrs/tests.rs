use x86::msr;

use super::{Fault, MachineMsrs};

#[test]
fn unknown_ones_fault() {
    let mut msrs = MachineMsrs::at_reset(None, 46);
    assert_eq!(msrs.read(0xdead), Err(Fault));
    assert_eq!(msrs.write(0xdead, 0), Err(Fault));
    assert_eq!(msrs.write(msr::MTRR_CAP, 0), Err(Fault));
    assert_eq!(msrs.read(msr::ARCH_CAPABILITIES), Err(Fault));
    assert_eq!(msrs.read(msr::PRED_CMD), Err(Fault));
    assert_eq!(msrs.write(msr::PRED_CMD, 1), Ok(()));
}

#[test]
fn the_hole_below_four_gib_is_uncached() {
    let msrs = MachineMsrs::at_reset(None, 40);
    assert_eq!(msrs.read(0x200), Ok(0xc000_0000));
    assert_eq!(msrs.read(0x201), Ok(0xff_c000_0800));
}

#[test]
fn what_is_written_is_saved() {
    let mut msrs = MachineMsrs::at_reset(Some(5), 46);
    msrs.write(0x202, 0x1234_0006).expect("a variable range");
    let mut saved = msrs.values().clone();
    saved.insert(msr::STAR, 7);
    let mut other = MachineMsrs::at_reset(None, 46);
    other.take_from(&mut saved);
    assert_eq!(other, msrs);
    assert_eq!(saved.len(), 1);
}
