use super::*;
use x86::cpuid::CpuidEntry;

/// AVX at 576, PKRU at 2688: as where the host has AVX-512 too.
fn supported(components: u64) -> CpuidTable {
    let entry = |subleaf, eax, ebx| CpuidEntry {
        leaf: 0xd,
        subleaf,
        indexed: true,
        eax,
        ebx,
        ..CpuidEntry::default()
    };
    let components = u32::try_from(components).unwrap();
    CpuidTable {
        entries: vec![
            entry(0, components, 0),
            entry(2, 256, 576),
            entry(9, 8, 2688),
        ],
    }
}

const ALL: u64 = xcr0::X87 | xcr0::SSE | xcr0::AVX | xcr0::PKRU;

fn busy() -> Fpu {
    let mut fpu = Fpu {
        control: 0x27f,
        status: 0x3841,
        tag: 0xa5,
        opcode: 0x123,
        instruction_pointer: 0x1122_3344_5566,
        data_pointer: 0x7788_99aa_bbcc,
        mxcsr: 0x1fa5,
        ..Fpu::default()
    };
    for (number, st) in (1u8..).zip(&mut fpu.st) {
        st[..10].fill(number);
    }
    for (number, ymm) in (0x40u8..).zip(&mut fpu.ymm) {
        ymm[..16].fill(number);
        ymm[16..].fill(number + 0x40);
    }
    fpu
}

#[test]
fn registers_come_back() {
    let supported = supported(ALL);
    let mut xsave = kvm_xsave::default();
    to_xsave(&busy(), 0x5555_0004, &supported, &mut xsave).unwrap();
    assert_eq!(from_xsave(&xsave, &supported).unwrap(), busy());
    assert_eq!(pkru(&xsave, &supported), 0x5555_0004);
    // XMM1 and the upper half of YMM1 lie where the manual says.
    assert_eq!(xsave.region[(160 + 16) / 4], 0x4141_4141);
    assert_eq!(xsave.region[(576 + 16) / 4], 0x8181_8181);
}

#[test]
fn components_without_their_bit_are_initial() {
    let supported = supported(ALL);
    let mut xsave = kvm_xsave::default();
    to_xsave(&busy(), 4, &supported, &mut xsave).unwrap();
    xsave.region[XSTATE_BV / 4] = 0;
    let initial = Fpu {
        mxcsr: busy().mxcsr,
        ..Fpu::default()
    };
    assert_eq!(from_xsave(&xsave, &supported).unwrap(), initial);
    assert_eq!(pkru(&xsave, &supported), 0);
}

#[test]
fn a_compacted_area_is_refused() {
    let mut xsave = kvm_xsave::default();
    xsave.region[XCOMP_BV / 4 + 1] = 1 << 31;
    assert!(from_xsave(&xsave, &supported(ALL)).is_err());
}

#[test]
fn what_the_host_cannot_hold_is_refused() {
    let sse = supported(xcr0::X87 | xcr0::SSE);
    let mut xsave = kvm_xsave::default();
    assert!(to_xsave(&busy(), 0, &sse, &mut xsave).is_err());
    assert!(to_xsave(&Fpu::default(), 1, &sse, &mut xsave).is_err());
    assert!(to_xsave(&Fpu::default(), 0, &sse, &mut xsave).is_ok());
}
