use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};

use super::{Reference, Scale, write_system_time, write_wall_clock};
use crate::time::{MachineClock, TscRate};

fn nanos(scale: Scale, ticks: u64) -> u64 {
    let scaled = if scale.shift < 0 {
        ticks >> -scale.shift
    } else {
        ticks << scale.shift
    };
    ((u128::from(scaled) * u128::from(scale.mul)) >> 32) as u64
}

#[test]
fn a_second_of_ticks_is_a_second() {
    for khz in [100_000, 999_999, 1_000_000, 2_000_000, 2_500_000, 5_123_457] {
        let second = nanos(Scale::new(TscRate { khz }), khz * 1000);
        assert!(
            (999_999_990..=1_000_000_000).contains(&second),
            "{khz} {second}"
        );
    }
}

#[test]
fn the_structure_is_published_with_an_even_version() {
    let range = RamRange {
        base: Gpa(0),
        len: 0x1000,
    };
    let memory = GuestMemory::new(&[range]).expect("a page");
    let reference = Reference { tsc: 77, time: 88 };
    write_system_time(&memory, 0x101, reference, TscRate { khz: 2_000_000 });
    let version: u32 = memory.ram().read_obj(GuestAddress(0x100)).expect("in RAM");
    assert_eq!(version, 2);
    let tsc: u64 = memory.ram().read_obj(GuestAddress(0x108)).expect("in RAM");
    assert_eq!(tsc, 77);
}

#[test]
fn an_address_outside_ram_is_ignored() {
    let range = RamRange {
        base: Gpa(0),
        len: 0x1000,
    };
    let memory = GuestMemory::new(&[range]).expect("a page");
    for msr in [0xff1, 0xfff, 0x1001, u64::MAX] {
        write_system_time(
            &memory,
            msr,
            Reference { tsc: 0, time: 0 },
            TscRate { khz: 1 },
        );
        write_wall_clock(&memory, msr, &MachineClock::default());
    }
}
