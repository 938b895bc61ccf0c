use x86::register::cr0;

use crate::cpu::{CodeSize, Cpu};
use crate::interp::decode::{Context, bits, lower};
use crate::interp::op::Stop;
use crate::interp::vector::tests::{cpu, run};

/// Runs one instruction in code of the given width, over flat segments.
fn run_in(cpu: &mut Cpu, code: CodeSize, bytes: &[u8]) -> Result<(), Stop> {
    use iced_x86::{Decoder, DecoderOptions};
    cpu.code_size = code;
    let insn = Decoder::new(bits(code), bytes, DecoderOptions::NONE).decode();
    let lowered = lower(&insn, Context::of(cpu));
    (lowered.op.run)(cpu, &lowered.op)
}

fn bytes(cpu: &mut Cpu, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    cpu.read_bytes(at, &mut bytes).expect("RAM");
    bytes
}

fn prepared() -> Cpu {
    let mut cpu = cpu();
    cpu.gpr[6] = 0x100;
    cpu.fpu.instruction_pointer = 0x1_2345;
    cpu.fpu.data_pointer = 0x6_789a;
    cpu.fpu.opcode = 0x5d1;
    cpu.fpu.control = 0x37f;
    cpu.fpu.status = 6 << 11;
    cpu.fpu.tag = 0xc0;
    // ST(0) is a zero, ST(1) an infinity.
    cpu.fpu.st[1][7..10].copy_from_slice(&[0x80, 0xff, 0x7f]);
    cpu
}

#[test]
fn the_environment_in_16_bit_protected_layout() {
    let mut cpu = prepared();
    run(&mut cpu, &[0x66, 0xd9, 0x36]).expect("o16 fnstenv [rsi]");
    let expected = [
        0x7f, 0x03, 0x00, 0x30, 0xff, 0x9f, 0x45, 0x23, 0, 0, 0x9a, 0x78, 0, 0,
    ];
    assert_eq!(bytes(&mut cpu, 0x100, 14), expected);
}

#[test]
fn the_environment_in_32_bit_protected_layout() {
    let mut cpu = prepared();
    run(&mut cpu, &[0xd9, 0x36]).expect("fnstenv [rsi]");
    let expected = [
        0x7f, 0x03, 0xff, 0xff, 0x00, 0x30, 0xff, 0xff, 0xff, 0x9f, 0xff, 0xff, 0x45, 0x23, 0x01,
        0, 0, 0, 0xd1, 0x05, 0x9a, 0x78, 0x06, 0, 0, 0, 0xff, 0xff,
    ];
    assert_eq!(bytes(&mut cpu, 0x100, 28), expected);
}

#[test]
fn the_environment_in_16_bit_real_layout_and_back() {
    let mut cpu = prepared();
    cpu.cr0 &= !cr0::PE;
    // fnstenv [si]
    run_in(&mut cpu, CodeSize::Bits16, &[0xd9, 0x34]).expect("real mode");
    let expected = [
        0x7f, 0x03, 0x00, 0x30, 0xff, 0x9f, 0x45, 0x23, 0xd1, 0x15, 0x9a, 0x78, 0x00, 0x60,
    ];
    assert_eq!(bytes(&mut cpu, 0x100, 14), expected);
    cpu.fpu = x86::Fpu::default();
    // fldenv [si]
    run_in(&mut cpu, CodeSize::Bits16, &[0xd9, 0x24]).expect("real mode");
    let fpu = &cpu.fpu;
    assert_eq!((fpu.status, fpu.tag), (6 << 11, 0xc0));
    assert_eq!(fpu.instruction_pointer, 0x1_2345);
    assert_eq!((fpu.data_pointer, fpu.opcode), (0x6_789a, 0x5d1));
}

#[test]
fn fnsave_initialises_and_frstor_brings_everything_back() {
    let mut cpu = prepared();
    let before = cpu.fpu.clone();
    run(&mut cpu, &[0xdd, 0x36]).expect("fnsave [rsi]");
    assert_eq!(
        (cpu.fpu.control, cpu.fpu.status, cpu.fpu.tag),
        (0x37f, 0, 0)
    );
    run(&mut cpu, &[0xdd, 0x26]).expect("frstor [rsi]");
    assert_eq!(cpu.fpu, before);
}

#[test]
fn loading_a_control_word_can_make_an_exception_pending() {
    let mut cpu = cpu();
    cpu.fpu.status = 1;
    cpu.gpr[6] = 0x100;
    cpu.write(0x100, 0x37eu16).expect("RAM");
    run(&mut cpu, &[0xd9, 0x2e]).expect("fldcw [rsi]");
    assert_eq!(cpu.fpu.status, 0x8081);
    assert_eq!(run(&mut cpu, &[0xd9, 0xe8]), Err(Stop::Fault));
    run(&mut cpu, &[0xdb, 0xe3]).expect("fninit does not wait");
    run(&mut cpu, &[0xd9, 0xe8]).expect("fld1");
}

#[test]
fn a_store_waits_for_its_exception_before_it_touches_memory() {
    let mut cpu = cpu();
    cpu.fpu.control = 0x37e;
    // Outside RAM: a store would leave for the machine.
    cpu.gpr[6] = 0x10_0000;
    run(&mut cpu, &[0xdd, 0x1e]).expect("fstp of an empty register");
    assert_eq!(cpu.fpu.status & 0x80c1, 0x80c1);
    cpu.fpu = x86::Fpu::default();
    run(&mut cpu, &[0xd9, 0xe8]).expect("fld1");
    assert_eq!(run(&mut cpu, &[0xdd, 0x1e]), Err(Stop::Exit));
    assert_eq!(
        cpu.fpu.tag, 0x80,
        "not popped before the machine has answered"
    );
}
