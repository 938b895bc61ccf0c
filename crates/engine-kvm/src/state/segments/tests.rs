use super::*;

#[test]
fn every_bit_of_a_segment_comes_back() {
    for bit in (0..8).chain(12..16) {
        let wanted = Segment {
            selector: 0x1b,
            base: 0xffff_8000_1234_5678,
            limit: 0xfff_ffff,
            rights: 1 << bit,
            unusable: bit % 2 == 0,
        };
        assert_eq!(segment(&to_kvm(&wanted)), wanted, "bit {bit}");
    }
}

#[test]
fn system_registers_come_back() {
    let mut wanted = CpuState::at_reset();
    wanted.gdtr = DescriptorTable {
        base: 0x1000,
        limit: 0x37,
    };
    (wanted.cr0, wanted.cr2, wanted.cr3) = (0x8000_0011, 2, 3);
    (wanted.cr4, wanted.cr8, wanted.efer) = (4, 8, 0x500);
    let mut got = CpuState {
        ldtr: Segment::default(),
        ..CpuState::at_reset()
    };
    take_sregs(&mut got, &sregs(&wanted));
    assert_eq!(got, wanted);
}
