//! Runs the native stubs of x87 instructions.

use x86::Fpu;

use super::words;
use crate::cpu::{Cpu, RIP_SLOT};
use crate::interp::op::{Op, Stop};
use crate::interp::vector::stub_raw::{HOST_MXCSR, Scratch, X87Scratch, call};
use crate::interp::vector::template::needs;

/// Exceptions that keep a result from being stored in memory: all but precision.
const NO_STORE: u16 = 0x1f;

fn scratch(cpu: &Cpu) -> X87Scratch {
    let mut scratch = X87Scratch {
        common: Scratch {
            memory: [0; 64],
            gpr: [0; 6],
            status: cpu.status,
            restore: 0,
            mxcsr: HOST_MXCSR,
            mxcsr_out: 0,
            mxcsr_host: HOST_MXCSR,
        },
        image: [0; 512],
    };
    put(&cpu.fpu, &mut scratch.image);
    scratch
}

/// Exceptions that wait for a handler. Where CR0.NE is clear an instruction runs in spite of them
/// (see `Cpu::x87_wait`); the host would take them for its own.
fn waiting(fpu: &Fpu) -> u16 {
    fpu.status & !fpu.control & words::EXCEPTIONS
}

fn put(fpu: &Fpu, image: &mut [u8; 512]) {
    let status = fpu.status & !(waiting(fpu) | words::PENDING);
    image[0..2].copy_from_slice(&fpu.control.to_le_bytes());
    image[2..4].copy_from_slice(&status.to_le_bytes());
    image[4] = fpu.tag;
    image[24..28].copy_from_slice(&HOST_MXCSR.to_le_bytes());
    for (n, register) in fpu.st.iter().enumerate() {
        image[32 + n * 16..][..10].copy_from_slice(&register[..10]);
    }
}

fn take(fpu: &mut Fpu, image: &[u8; 512]) {
    fpu.status = u16::from_le_bytes([image[2], image[3]]) | waiting(fpu);
    words::settle(fpu);
    fpu.tag = image[4];
    for (n, register) in fpu.st.iter_mut().enumerate() {
        register[..10].copy_from_slice(&image[32 + n * 16..][..10]);
    }
}

/// An arithmetic, load, store, compare or stack instruction.
pub(super) fn run(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.may_use_x87()?;
    cpu.x87_wait()?;
    let size = u32::from(op.size);
    let mut scratch = scratch(cpu);
    if op.src & needs::LOAD != 0 {
        let gla = cpu.linear(op, size, false)?;
        cpu.read_bytes(gla, &mut scratch.common.memory[..usize::from(op.size)])?;
    }
    let base: *mut X87Scratch = &raw mut scratch;
    let memory: *mut u8 = base.cast();
    // SAFETY: `lower` made the op from a template of an x87 instruction, which touches a memory
    // operand of at most 10 bytes at the scratch's start, no vector operands, and the image after
    // the scratch. `put` leaves no exception pending in the image, so nothing in the stub waits for
    // one.
    unsafe { call(op.imm, memory, [memory; 4], base.cast()) };
    let status = u16::from_le_bytes([scratch.image[2], scratch.image[3]]);
    let unmasked = status & !cpu.fpu.control & words::EXCEPTIONS;
    // An exception that keeps the result back comes before any fault of the store.
    if op.src & needs::STORE != 0 && unmasked & NO_STORE == 0 {
        let gla = cpu.linear(op, size, true)?;
        cpu.write_bytes(gla, &scratch.common.memory[..usize::from(op.size)])?;
    }
    take(&mut cpu.fpu, &scratch.image);
    if op.src & needs::STATUS != 0 {
        cpu.status = scratch.common.status;
    }
    note_pointers(cpu, op, unmasked != 0);
    Ok(())
}

/// Remembers where the last instruction was, as handlers of exceptions ask.
fn note_pointers(cpu: &mut Cpu, op: &Op, unmasked: bool) {
    let block = cpu.gpr[usize::from(RIP_SLOT)];
    cpu.fpu.instruction_pointer = block.wrapping_add(u64::from(op.start)) & cpu.ip_mask;
    if unmasked {
        cpu.fpu.opcode = op.extra as u16;
    }
    let touches_memory = op.src & (needs::LOAD | needs::STORE) != 0;
    if touches_memory && (unmasked || !cpu.available.data_pointer_on_exception_only()) {
        cpu.fpu.data_pointer = cpu.offset(op);
    }
}
