use std::path::Path;
use std::{env, fs};

use devices::DeviceState;
use memory::{Gpa, RamRange};
use x86::{Activity, CpuState, Injected};

use super::{SavedMachine, VERSION};

#[test]
fn bytes_from_anywhere_are_no_machine() {
    for bytes in [
        &b""[..],
        b"INNK",
        b"INNK\x01",
        b"INNK\x07\0",
        b"INNK\x01\0\xff\xff",
        b"junk",
    ] {
        assert!(SavedMachine::from_bytes(bytes).is_err(), "{bytes:?}");
    }
}

/// Of one processor that has nothing as at its reset.
fn busy() -> SavedMachine {
    let mut cpu = CpuState::at_reset();
    let numbers = cpu.gpr.iter_mut().chain(&mut cpu.dr);
    let places = [
        &mut cpu.rip,
        &mut cpu.rflags,
        &mut cpu.cr0,
        &mut cpu.cr2,
        &mut cpu.cr3,
        &mut cpu.cr4,
        &mut cpu.cr8,
        &mut cpu.efer,
        &mut cpu.xcr0,
        &mut cpu.tsc,
        &mut cpu.fpu.instruction_pointer,
        &mut cpu.fpu.data_pointer,
        &mut cpu.apic.base,
        &mut cpu.apic.tsc_deadline,
        &mut cpu.gdtr.base,
        &mut cpu.idtr.base,
    ];
    for (number, place) in (1..).zip(numbers.chain(places)) {
        *place = number << 40 | number;
    }
    let segments = cpu.segments.iter_mut();
    for (number, segment) in (1..).zip(segments.chain([&mut cpu.ldtr, &mut cpu.tr])) {
        segment.selector = number;
        segment.base = u64::from(number) << 20;
        segment.limit = u32::from(number) << 12;
        segment.rights = number << 8;
    }
    (cpu.gdtr.limit, cpu.idtr.limit, cpu.pkru) = (1, 2, 3);
    (cpu.fpu.control, cpu.fpu.status, cpu.fpu.tag) = (0x27f, 0x3800, 0xc0);
    (cpu.fpu.opcode, cpu.fpu.mxcsr) = (0x1dd, 0x1fa0);
    for (number, register) in (1..).zip(&mut cpu.fpu.st) {
        *register = [number; 16];
    }
    for (number, register) in (101..).zip(&mut cpu.fpu.ymm) {
        *register = [number; 32];
    }
    cpu.msrs = [(0x10, 1), (0xc000_0102, 1 << 47)].into();
    cpu.apic.registers = (0..64).collect();
    cpu.events.interrupt_shadow = true;
    cpu.events.nmi_pending = true;
    cpu.events.nmi_masked = true;
    cpu.events.injected = Some(Injected {
        vector: 14,
        error_code: Some(2),
        software: true,
    });
    cpu.activity = Activity::WaitForSipi;
    SavedMachine {
        ranges: vec![RamRange {
            base: Gpa(1 << 20),
            len: 1 << 24,
        }],
        engine: "translator".to_owned(),
        clock: 1 << 50,
        cpu_version: CpuState::VERSION,
        vcpus: vec![cpu],
        devices: vec![(
            "port92".to_owned(),
            DeviceState {
                kind: "port92".to_owned(),
                version: 1,
                bytes: vec![2],
            },
        )],
        engine_devices: vec![7, 8, 9],
    }
}

/// `kept/machine.VERSION` has [`busy`], as it was when that version was new: it is read for good.
/// `KEEP_STATES=1` writes what is missing.
#[test]
fn kept_machines_of_every_version_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/saved/kept");
    for version in 1..=VERSION {
        let path = folder.join(format!("machine.{version}"));
        if env::var_os("KEEP_STATES").is_some() && version == VERSION && !path.exists() {
            fs::write(&path, busy().to_bytes().unwrap()).unwrap();
        }
        let bytes = fs::read(&path).expect("a machine of each version is kept");
        let machine = SavedMachine::from_bytes(&bytes).unwrap();
        assert_eq!(machine.cpu_version, CpuState::VERSION);
        if version == VERSION {
            assert_eq!(machine, busy());
            // A field that came, went or moved shows here.
            let again = machine.to_bytes().unwrap();
            assert_eq!(again, bytes, "its version is to be raised");
        }
    }
}
