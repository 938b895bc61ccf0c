use x86::cpuid::Vendor;
use x86::msr;

use super::{Fault, MC_LAST, MC0_CTL, MachineMsrs, MsrFacts};

const FACTS: MsrFacts = MsrFacts {
    vendor: Vendor::Intel,
    physical_bits: 46,
    arch_capabilities: None,
    speculation: 0b11,
};

const AMD: MsrFacts = MsrFacts {
    vendor: Vendor::Amd,
    speculation: 0,
    ..FACTS
};

#[test]
fn unknown_ones_fault() {
    let mut msrs = MachineMsrs::at_reset(FACTS);
    assert_eq!(msrs.read(0xdead), Err(Fault));
    assert_eq!(msrs.write(0xdead, 0), Err(Fault));
    assert_eq!(msrs.write(msr::MTRR_CAP, 0), Err(Fault));
    assert_eq!(msrs.read(msr::ARCH_CAPABILITIES), Err(Fault));
    assert_eq!(msrs.read(msr::PRED_CMD), Err(Fault));
    assert_eq!(msrs.write(msr::PRED_CMD, 1), Ok(()));
}

#[test]
fn the_hole_below_four_gib_is_uncached() {
    let msrs = MachineMsrs::at_reset(MsrFacts {
        physical_bits: 40,
        ..FACTS
    });
    assert_eq!(msrs.read(0x200), Ok(0xc000_0000));
    assert_eq!(msrs.read(0x201), Ok(0xff_c000_0800));
}

#[test]
fn what_is_written_is_saved() {
    let mut msrs = MachineMsrs::at_reset(MsrFacts {
        arch_capabilities: Some(5),
        ..FACTS
    });
    msrs.write(0x202, 0x1234_0006).expect("a variable range");
    let mut saved = msrs.values().clone();
    saved.insert(msr::STAR, 7);
    let mut other = MachineMsrs::at_reset(FACTS);
    other.take_from(&mut saved, |_| true);
    assert_eq!(other, msrs);
    assert_eq!(saved.len(), 1);
}

#[test]
fn machine_check_banks_take_what_the_manual_allows() {
    let mut msrs = MachineMsrs::at_reset(MsrFacts {
        physical_bits: 40,
        ..FACTS
    });
    let (control, status) = (MC0_CTL, MC0_CTL + 1);
    assert_eq!(msrs.write(control, u64::MAX), Ok(()));
    assert_eq!(msrs.write(control, 0xaaaa), Err(Fault));
    assert_eq!(msrs.read(control), Ok(u64::MAX));
    assert_eq!(msrs.write(status, 0), Ok(()));
    assert_eq!(msrs.write(status, 1), Err(Fault));
    assert_eq!(msrs.read(MC_LAST + 1), Err(Fault));
}

#[test]
fn counters_of_amd_are_there_without_counting() {
    let mut amd = MachineMsrs::at_reset(AMD);
    assert_eq!(amd.write(0xc001_0004, 5), Ok(()));
    assert_eq!(amd.read(0xc001_0004), Ok(0));
    let intel = MachineMsrs::at_reset(FACTS);
    assert_eq!(intel.read(0xc001_0004), Err(Fault));
}

#[test]
fn systems_find_what_they_ask_every_amd_processor_for() {
    let mut amd = MachineMsrs::at_reset(AMD);
    let (hwcr, tsc_at_p0, status) = (0xc001_0015, 1 << 24, MC0_CTL + 1);
    assert_eq!(amd.read(hwcr), Ok(tsc_at_p0));
    assert_eq!(amd.write(hwcr, tsc_at_p0 | 1), Err(Fault));
    assert_eq!(amd.write(status, 5), Err(Fault));
    assert_eq!(amd.write(hwcr, tsc_at_p0 | 1 << 18), Ok(()));
    assert_eq!(amd.write(status, 5), Ok(()));
    let nb_cfg = 0xc001_001f;
    assert_eq!(amd.write(nb_cfg, 1 << 46), Ok(()));
    assert_eq!(amd.read(nb_cfg), Ok(0));
    let mut intel = MachineMsrs::at_reset(FACTS);
    assert_eq!(intel.read(hwcr), Err(Fault));
    assert_eq!(intel.write(nb_cfg, 0), Err(Fault));
}

#[test]
fn speculation_is_controlled_where_cpuid_says_so() {
    let mut msrs = MachineMsrs::at_reset(FACTS);
    assert_eq!(msrs.write(msr::SPEC_CTRL, 0b11), Ok(()));
    assert_eq!(msrs.read(msr::SPEC_CTRL), Ok(0b11));
    assert_eq!(msrs.write(msr::SPEC_CTRL, 0b111), Err(Fault));
    let mut without = MachineMsrs::at_reset(AMD);
    assert_eq!(without.read(msr::SPEC_CTRL), Err(Fault));
    assert_eq!(without.write(msr::SPEC_CTRL, 0), Err(Fault));
    assert_eq!(without.write(msr::PRED_CMD, 1), Err(Fault));
}
