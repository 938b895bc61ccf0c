use iced_x86::{Decoder, DecoderOptions};
use memory::{Gpa, GuestMemory, RamRange};
use x86::cpuid::{HostCpuid, VcpuParams, model, table};
use x86::exception::vector;
use x86::register::{cr0, cr4, xcr0};

use crate::cpu::{CodeSize, Cpu};
use crate::interp::decode::{Context, lower};
use crate::interp::op::Stop;

/// A vCPU in 64-bit mode over 64 KiB of flat RAM, everything enabled.
pub(super) fn cpu() -> Cpu {
    let ram = RamRange {
        base: Gpa(0),
        len: 0x1_0000,
    };
    let memory = GuestMemory::new(&[ram]).expect("a little memory");
    let params = VcpuParams {
        id: 0,
        count: 1,
        tsc_khz: 1_000_000,
    };
    let host = model("host").expect("the model exists");
    let mut cpu = Cpu::new(0, table(host, &HostCpuid::read(), &params), memory.clone());
    cpu.mmu.map(&memory);
    cpu.cr0 = cr0::PE | cr0::NE | cr0::MP;
    cpu.cr4 = cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::OSXSAVE;
    cpu.xcr0 = xcr0::X87 | xcr0::SSE | xcr0::AVX | xcr0::PKRU;
    cpu.code_size = CodeSize::Bits64;
    cpu.fpu = x86::Fpu::default();
    cpu
}

/// Runs one 64-bit instruction.
pub(super) fn run(cpu: &mut Cpu, bytes: &[u8]) -> Result<(), Stop> {
    let insn = Decoder::new(64, bytes, DecoderOptions::NONE).decode();
    assert_eq!(insn.len(), bytes.len(), "{bytes:02x?}");
    let lowered = lower(&insn, Context::of(cpu));
    (lowered.op.run)(cpu, &lowered.op)
}

fn fault(cpu: &mut Cpu, bytes: &[u8]) -> u8 {
    assert_eq!(run(cpu, bytes), Err(Stop::Fault), "{bytes:02x?}");
    cpu.fault.vector
}

fn floats(values: [f32; 4]) -> [u8; 32] {
    let mut register = [0xee; 32];
    for (to, value) in register.chunks_exact_mut(4).zip(values) {
        to.copy_from_slice(&value.to_le_bytes());
    }
    register
}

#[test]
fn legacy_forms_keep_the_upper_half_and_vex_forms_clear_it() {
    let mut cpu = cpu();
    cpu.fpu.ymm[9] = floats([1.0, 2.0, 3.0, 4.0]);
    cpu.fpu.ymm[2] = floats([0.5; 4]);
    // addps xmm9, xmm2
    run(&mut cpu, &[0x44, 0x0f, 0x58, 0xca]).expect("runs");
    assert_eq!(cpu.fpu.ymm[9], floats([1.5, 2.5, 3.5, 4.5]));
    // vaddps xmm9, xmm9, xmm2
    run(&mut cpu, &[0xc5, 0x30, 0x58, 0xca]).expect("runs");
    assert_eq!(cpu.fpu.ymm[9][..16], floats([2.0, 3.0, 4.0, 5.0])[..16]);
    assert_eq!(cpu.fpu.ymm[9][16..], [0; 16]);
    assert_eq!(cpu.fpu.mxcsr, 0x1f80);
}

#[test]
fn a_load_that_crosses_into_the_void_reads_ones_and_ram() {
    let mut cpu = cpu();
    cpu.gpr[6] = 0x2ff8;
    cpu.write(0x2ff8, 0x1122_3344_5566_7788u64).expect("RAM");
    cpu.write(0x3000, 0x99aa_bbcc_ddee_ff00u64).expect("RAM");
    // movdqu xmm1, [rsi]
    run(&mut cpu, &[0xf3, 0x0f, 0x6f, 0x0e]).expect("runs");
    assert_eq!(cpu.fpu.ymm[1][..8], 0x1122_3344_5566_7788u64.to_le_bytes());
    assert_eq!(
        cpu.fpu.ymm[1][8..16],
        0x99aa_bbcc_ddee_ff00u64.to_le_bytes()
    );
    // movdqa xmm1, [rsi]
    assert_eq!(fault(&mut cpu, &[0x66, 0x0f, 0x6f, 0x0e]), vector::GP);
    // vmovdqu [rsi], ymm1, then movq rax, [rsi+8]
    run(&mut cpu, &[0xc5, 0xfe, 0x7f, 0x0e]).expect("runs");
    assert_eq!(cpu.read::<u64>(0x3008), Ok(0));
}

#[test]
fn unmasked_exceptions_leave_the_destination() {
    let mut cpu = cpu();
    cpu.fpu.mxcsr = 0x1f80 & !(1 << 9);
    cpu.fpu.ymm[0] = floats([1.0; 4]);
    cpu.fpu.ymm[1] = floats([1.0, 0.0, 3.0, 0.0]);
    // divps xmm0, xmm1: divides by zero and would also be inexact
    assert_eq!(fault(&mut cpu, &[0x0f, 0x5e, 0xc1]), vector::XM);
    assert_eq!(cpu.fpu.ymm[0], floats([1.0; 4]));
    assert_eq!(cpu.fpu.mxcsr & 0x3f, 4);
    cpu.cr4 &= !cr4::OSXMMEXCPT;
    assert_eq!(fault(&mut cpu, &[0x0f, 0x5e, 0xc1]), vector::UD);
}

#[test]
fn flags_and_general_registers() {
    let mut cpu = cpu();
    cpu.gpr[0] = 0xffff_0000_0000_00f0;
    // popcnt ecx, eax
    run(&mut cpu, &[0xf3, 0x0f, 0xb8, 0xc8]).expect("runs");
    assert_eq!(cpu.gpr[1], 4);
    // popcnt cx, ax keeps the rest
    cpu.gpr[1] = u64::MAX;
    run(&mut cpu, &[0x66, 0xf3, 0x0f, 0xb8, 0xc8]).expect("runs");
    assert_eq!(cpu.gpr[1], 0xffff_ffff_ffff_0004);
    // crc32 eax, ah
    cpu.gpr[0] = 0x3100;
    run(&mut cpu, &[0xf2, 0x0f, 0x38, 0xf0, 0xc4]).expect("runs");
    let ah = cpu.gpr[0];
    cpu.gpr[0] = 0x3100;
    cpu.gpr[3] = 0x31;
    // crc32 eax, bl
    run(&mut cpu, &[0xf2, 0x0f, 0x38, 0xf0, 0xc3]).expect("runs");
    assert_eq!(cpu.gpr[0], ah);
    // mulx rax, rax, rbx keeps the high half
    cpu.gpr[2] = u64::MAX;
    cpu.gpr[3] = 16;
    run(&mut cpu, &[0xc4, 0xe2, 0xfb, 0xf6, 0xc3]).expect("runs");
    assert_eq!(cpu.gpr[0], 15);
    // ucomiss xmm0, xmm1 of equals
    run(&mut cpu, &[0x0f, 0x2e, 0xc1]).expect("runs");
    assert_eq!(cpu.status & 0xd501, 0x4400 & 0xd501 & !0x0400);
}

#[test]
fn string_compares_use_implied_registers() {
    let mut cpu = cpu();
    cpu.gpr[0] = 5;
    cpu.gpr[2] = 16;
    cpu.fpu.ymm[3][..16].copy_from_slice(b"hello, world!!!!");
    cpu.fpu.ymm[4][..16].copy_from_slice(b"say hello to all");
    // pcmpestri xmm3, xmm4, 0x0c: equal ordered
    run(&mut cpu, &[0x66, 0x0f, 0x3a, 0x61, 0xdc, 0x0c]).expect("runs");
    assert_eq!(cpu.gpr[1], 4);
    // pcmpestrm xmm3, xmm4, 0x0c
    run(&mut cpu, &[0x66, 0x0f, 0x3a, 0x60, 0xdc, 0x0c]).expect("runs");
    assert_eq!(cpu.fpu.ymm[0][..4], [0x10, 0, 0, 0]);
}

#[test]
fn gates() {
    let mut cpu = cpu();
    cpu.cr0 |= cr0::TS;
    assert_eq!(fault(&mut cpu, &[0x0f, 0x58, 0xca]), vector::NM);
    assert_eq!(fault(&mut cpu, &[0xd9, 0xe8]), vector::NM);
    assert_eq!(fault(&mut cpu, &[0x0f, 0xfc, 0xca]), vector::NM);
    assert_eq!(fault(&mut cpu, &[0x9b]), vector::NM);
    assert_eq!(fault(&mut cpu, &[0xc5, 0xf8, 0x77]), vector::NM);
    cpu.cr0 = cr0::PE;
    cpu.cr4 = 0;
    assert_eq!(fault(&mut cpu, &[0x0f, 0x58, 0xca]), vector::UD);
    assert_eq!(fault(&mut cpu, &[0xc5, 0x30, 0x58, 0xca]), vector::UD);
    // paddb mm1, mm2 needs nothing of CR4
    run(&mut cpu, &[0x0f, 0xfc, 0xca]).expect("runs");
    // andn needs protected mode only
    run(&mut cpu, &[0xc4, 0xe2, 0x70, 0xf2, 0xc2]).expect("runs");
}

#[test]
fn without_the_feature_lzcnt_is_bsr_and_others_are_undefined() {
    let mut cpu = cpu();
    cpu.available = super::available::Available::default();
    cpu.gpr[0] = 0x100;
    run(&mut cpu, &[0xf3, 0x0f, 0xbd, 0xc8]).expect("runs");
    assert_eq!(cpu.gpr[1], 8);
    assert_eq!(fault(&mut cpu, &[0xf3, 0x0f, 0xb8, 0xc8]), vector::UD);
    assert_eq!(fault(&mut cpu, &[0x0f, 0x58, 0xca]), vector::UD);
}

#[test]
fn x87_computes_and_keeps_its_stack() {
    let mut cpu = cpu();
    cpu.write(0x100, 2.25f64.to_bits()).expect("RAM");
    cpu.gpr[6] = 0x100;
    run(&mut cpu, &[0xdd, 0x06]).expect("fld qword [rsi]");
    run(&mut cpu, &[0xd9, 0xfa]).expect("fsqrt");
    run(&mut cpu, &[0xd9, 0xe8]).expect("fld1");
    assert_eq!(cpu.fpu.status >> 11 & 7, 6);
    assert_eq!(cpu.fpu.tag, 0xc0);
    run(&mut cpu, &[0xde, 0xc1]).expect("faddp");
    run(&mut cpu, &[0xdd, 0x5e, 0x08]).expect("fstp qword [rsi+8]");
    assert_eq!(cpu.read::<u64>(0x108), Ok(2.5f64.to_bits()));
    assert_eq!(cpu.fpu.tag, 0);
}

#[test]
fn x87_exceptions_wait_for_the_next_instruction() {
    let mut cpu = cpu();
    cpu.fpu.control = 0x37b;
    run(&mut cpu, &[0xd9, 0xe8]).expect("fld1");
    run(&mut cpu, &[0xd9, 0xee]).expect("fldz");
    run(&mut cpu, &[0xd8, 0xf9]).expect("fdivr st0, st1: not yet");
    run(&mut cpu, &[0xd9, 0xee]).expect_err("waits");
    assert_eq!(cpu.fault.vector, vector::MF);
    assert_eq!(cpu.fpu.status & 0x8084, 0x8084);
    assert_eq!(fault(&mut cpu, &[0x0f, 0xfc, 0xca]), vector::MF);
    run(&mut cpu, &[0xdf, 0xe0]).expect("fnstsw ax");
    assert_eq!(cpu.gpr[0] & 0x8084, 0x8084);
    run(&mut cpu, &[0xdb, 0xe2]).expect("fnclex");
    run(&mut cpu, &[0x9b]).expect("fwait");
}

#[test]
fn mmx_sees_physical_registers() {
    let mut cpu = cpu();
    run(&mut cpu, &[0xd9, 0xe8]).expect("fld1: physical register 7");
    run(&mut cpu, &[0x0f, 0x7e, 0xf8]).expect("movd eax, mm7");
    assert_eq!(cpu.gpr[0], 0);
    assert_eq!(cpu.fpu.status >> 11 & 7, 0);
    assert_eq!(cpu.fpu.tag, 0xff);
    run(&mut cpu, &[0x48, 0x0f, 0x7e, 0xf8]).expect("movq rax, mm7");
    assert_eq!(cpu.gpr[0], 1 << 63);
    run(&mut cpu, &[0x0f, 0x6f, 0xcf]).expect("movq mm1, mm7");
    assert_eq!(cpu.fpu.st[1][7..10], [0x80, 0xff, 0xff]);
    run(&mut cpu, &[0x0f, 0x77]).expect("emms");
    assert_eq!(cpu.fpu.tag, 0);
}

#[test]
fn masked_moves_fault_on_enabled_elements_only() {
    let mut cpu = cpu();
    // RAM ends before the third element.
    cpu.gpr[6] = 0xfff8;
    cpu.fpu.ymm[1] = [0; 32];
    cpu.fpu.ymm[1][7] = 0x80;
    // vmaskmovps xmm0, xmm1, [rsi]
    run(&mut cpu, &[0xc4, 0xe2, 0x71, 0x2c, 0x06]).expect("only the second element");
    cpu.fpu.ymm[1][11] = 0x80;
    assert_eq!(
        run(&mut cpu, &[0xc4, 0xe2, 0x71, 0x2c, 0x06]),
        Err(Stop::Exit)
    );
}

#[test]
fn gathers_keep_what_was_done_before_a_fault() {
    let mut cpu = cpu();
    cpu.write(0x200, 0x1234_5678u32).expect("RAM");
    cpu.gpr[6] = 0x100;
    cpu.fpu.ymm[2] = [0xff; 32];
    cpu.fpu.ymm[1] = [0; 32];
    cpu.fpu.ymm[1][..8].copy_from_slice(&0x100u64.to_le_bytes());
    cpu.fpu.ymm[1][8..16].copy_from_slice(&(1u64 << 62).to_le_bytes());
    // vpgatherqd xmm0, [rsi+xmm1*1], xmm2
    let code = [0xc4, 0xe2, 0x69, 0x91, 0x04, 0x0e];
    assert_eq!(run(&mut cpu, &code), Err(Stop::NonCanonical));
    assert_eq!(cpu.fpu.ymm[0][..4], 0x1234_5678u32.to_le_bytes());
    assert_eq!(cpu.fpu.ymm[2][..8], [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
}

#[test]
fn operands_outside_ram_are_asked_for_in_pieces() {
    let mut cpu = cpu();
    cpu.gpr[6] = 0x10_0000;
    let load = [0xf3, 0x0f, 0x6f, 0x0e];
    for answer in [0x0706_0504_0302_0100u64, 0x0f0e_0d0c_0b0a_0908] {
        assert_eq!(run(&mut cpu, &load), Err(Stop::Exit));
        assert!(cpu.replay.push(answer));
        cpu.replay.rewind();
        assert_eq!(cpu.fpu.ymm[1], [0; 32]);
    }
    run(&mut cpu, &load).expect("all answers are there");
    let expected: Vec<u8> = (0..16).collect();
    assert_eq!(cpu.fpu.ymm[1][..16], expected);
}

#[test]
fn mxcsr_has_reserved_bits() {
    let mut cpu = cpu();
    cpu.gpr[6] = 0x100;
    cpu.write(0x100, 0x1_1f80u32).expect("RAM");
    assert_eq!(fault(&mut cpu, &[0x0f, 0xae, 0x16]), vector::GP);
    cpu.write(0x100, 0x7fffu32).expect("RAM");
    run(&mut cpu, &[0x0f, 0xae, 0x16]).expect("ldmxcsr [rsi]");
    assert_eq!(cpu.fpu.mxcsr, 0x7fff);
}
