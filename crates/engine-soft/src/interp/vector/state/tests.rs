use x86::cpuid::xsave_component;
use x86::exception::vector;
use x86::register::{cr0, cr4, xcr0};

use crate::cpu::Cpu;
use crate::interp::op::Stop;
use crate::interp::vector::tests::{cpu, run};

const XSAVE: &[u8] = &[0x0f, 0xae, 0x26];
const XSAVEOPT: &[u8] = &[0x0f, 0xae, 0x36];
const XRSTOR: &[u8] = &[0x0f, 0xae, 0x2e];
const FXSAVE: &[u8] = &[0x0f, 0xae, 0x06];
const FXRSTOR: &[u8] = &[0x0f, 0xae, 0x0e];

/// A vCPU with something in every component, and RSI at an area.
fn full() -> Cpu {
    let mut cpu = cpu();
    cpu.gpr[6] = 0x400;
    (cpu.gpr[0], cpu.gpr[2]) = (u64::MAX, u64::MAX);
    for (n, register) in (1..).zip(&mut cpu.fpu.ymm) {
        *register = [n; 32];
    }
    cpu.fpu.st[3][..10].fill(7);
    cpu.fpu.tag = 8;
    cpu.fpu.mxcsr = 0x1f81;
    cpu.pkru = 0x5555_5554;
    cpu
}

fn byte(cpu: &mut Cpu, at: u64) -> u8 {
    cpu.read(0x400 + at).expect("RAM")
}

#[test]
fn everything_comes_back() {
    let mut cpu = full();
    let (fpu, pkru) = (cpu.fpu.clone(), cpu.pkru);
    run(&mut cpu, XSAVE).expect("saves");
    assert_eq!(
        cpu.read(0x600),
        Ok(xcr0::X87 | xcr0::SSE | xcr0::AVX | xcr0::PKRU)
    );
    (cpu.fpu, cpu.pkru) = (x86::Fpu::default(), 0);
    run(&mut cpu, XRSTOR).expect("restores");
    assert_eq!((cpu.fpu, cpu.pkru), (fpu, pkru));
}

#[test]
fn the_fields_lie_where_the_manual_says() {
    let mut cpu = full();
    run(&mut cpu, XSAVE).expect("saves");
    assert_eq!(byte(&mut cpu, 4), 8);
    assert_eq!(byte(&mut cpu, 24), 0x81);
    assert_eq!(byte(&mut cpu, 32 + 3 * 16), 7);
    assert_eq!(byte(&mut cpu, 160 + 15 * 16), 16);
    let offset = |component| {
        let entry = cpu.cpuid.find(0xd, component).expect("the component");
        u64::from(entry.ebx)
    };
    let (avx, pkru) = (offset(xsave_component::AVX), offset(xsave_component::PKRU));
    assert_eq!(byte(&mut cpu, avx + 15 * 16), 16);
    assert_eq!(cpu.read(0x400 + pkru), Ok(0x5555_5554u64));
}

#[test]
fn only_what_is_asked_for_is_written_or_loaded() {
    let mut cpu = full();
    (cpu.gpr[0], cpu.gpr[2]) = (xcr0::X87, 0);
    cpu.write(0x600, xcr0::AVX).expect("RAM");
    run(&mut cpu, XSAVE).expect("saves");
    assert_eq!(byte(&mut cpu, 160), 0);
    assert_eq!(byte(&mut cpu, 24), 0, "MXCSR goes with SSE and AVX");
    assert_eq!(
        cpu.read(0x600),
        Ok(xcr0::AVX | xcr0::X87),
        "other bits stay"
    );
    (cpu.gpr[0], cpu.gpr[2]) = (xcr0::SSE, 0);
    run(&mut cpu, XRSTOR).expect("SSE is absent, so it becomes initial");
    assert_eq!(cpu.fpu.ymm[2][..16], [0; 16]);
    assert_eq!(cpu.fpu.ymm[2][16..], [3; 16]);
    assert_eq!(cpu.fpu.tag, 8);
}

#[test]
fn xsaveopt_leaves_out_what_is_initial() {
    let mut cpu = full();
    cpu.fpu.ymm = [[0; 32]; 16];
    cpu.write(0x400 + 160, 0xaau8).expect("RAM");
    run(&mut cpu, XSAVEOPT).expect("saves");
    assert_eq!(byte(&mut cpu, 160), 0xaa);
    assert_eq!(cpu.read(0x600), Ok(xcr0::X87 | xcr0::PKRU));
}

#[test]
fn bad_areas_are_general_protection_faults_and_change_nothing() {
    let mut cpu = full();
    run(&mut cpu, XSAVE).expect("saves");
    let before = cpu.fpu.clone();
    let refuse = |cpu: &mut Cpu, at: u64, value: u64| {
        let old: u64 = cpu.read(0x400 + at).expect("RAM");
        cpu.write(0x400 + at, value).expect("RAM");
        assert_eq!(run(cpu, XRSTOR), Err(Stop::Fault), "{at:#x}");
        assert_eq!(cpu.fault.vector, vector::GP);
        assert_eq!(cpu.fpu, before);
        cpu.write(0x400 + at, old).expect("RAM");
    };
    // A component that XCR0 does not have, the compacted form, reserved bytes, reserved MXCSR bits.
    refuse(&mut cpu, 512, 1 << 5);
    refuse(&mut cpu, 520, 1 << 63);
    refuse(&mut cpu, 528, 1);
    refuse(&mut cpu, 24, 0x1_0000);
    cpu.gpr[6] += 16;
    for code in [XSAVE, XSAVEOPT, XRSTOR] {
        assert_eq!(run(&mut cpu, code), Err(Stop::Fault));
        assert_eq!(cpu.fault.vector, vector::GP);
    }
}

#[test]
fn gates_of_the_operating_system() {
    let mut cpu = full();
    cpu.cr0 |= cr0::TS;
    for code in [XSAVE, XRSTOR, FXSAVE, FXRSTOR] {
        assert_eq!(run(&mut cpu, code), Err(Stop::Fault));
        assert_eq!(cpu.fault.vector, vector::NM);
    }
    cpu.cr4 &= !cr4::OSXSAVE;
    assert_eq!(run(&mut cpu, XSAVE), Err(Stop::Fault));
    assert_eq!(cpu.fault.vector, vector::UD);
}

#[test]
fn fxsave_leaves_what_belongs_to_software() {
    let mut cpu = full();
    cpu.write(0x400 + 464, 0xaau8).expect("RAM");
    run(&mut cpu, FXSAVE).expect("saves");
    assert_eq!(byte(&mut cpu, 464), 0xaa);
    let before = cpu.fpu.clone();
    cpu.fpu = x86::Fpu::default();
    run(&mut cpu, FXRSTOR).expect("restores");
    assert_eq!(cpu.fpu.st, before.st);
    assert_eq!(cpu.fpu.ymm[4][..16], [5; 16]);
    assert_eq!(cpu.fpu.ymm[4][16..], [0; 16]);
}
