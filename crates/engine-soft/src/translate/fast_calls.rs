//! SYSCALL and SYSRET between 64-bit code of user mode and of the kernel, as their handlers found that
//! they go: what they load is kept beside the vCPU until an MSR or control register that it comes from
//! is written. Spec: Intel SDM Vol. 2, "SYSCALL", "SYSRET".

use x86::register::rflags;
use x86::{Segment, SegmentRegister};

use super::assembler::{Assembler, condition};
use super::cold::Miss;
use super::control::Then;
use super::emitter::{Emitter, Refused};
use super::jumps_raw::OFFSET_MASK;
use super::mode::Mode;
use super::native::{self, FastCalls};
use super::registers::{R12, R13, RAX, RCX};
use crate::interp::op::Op;
use crate::interp::system::fast_call::SYSRET_FLAGS;
use crate::mmu::{FETCH_ENTRIES, set};

const R11: u8 = 11;

impl Emitter<'_> {
    pub(super) fn syscall(&mut self, op: &Op) -> Result<Then, Refused> {
        let mode = self.frame.mode;
        if mode.code32 || mode.set() != set::USER {
            return Err(Refused);
        }
        self.flags_to_memory();
        let site = self.site(op, true);
        let after = i64::from(self.frame.unit + op.start + u16::from(op.len));
        let mut slow: Vec<Miss> = Vec::new();
        let mut other = None;
        for kernel in [set::SUPERVISOR, set::SUPERVISOR_OPEN] {
            if let Some(other) = other.take() {
                self.asm.land(other);
            }
            self.asm
                .compare_byte(native::FAST_READY, FastCalls::ready(kernel));
            other = Some(self.asm.jump_if(condition::NOT_EQUAL));
            slow.push(self.unless_mode(Mode {
                set: kernel as u8,
                ..mode
            }));
            self.load_rip(RAX, after);
            self.asm.copy(RCX, RAX);
            self.asm.jump_to(self.frame.stubs.syscalls[kernel]);
        }
        slow.extend(other.map(Miss::from));
        self.slow_way_to(slow, site);
        Ok(Then::Ended)
    }

    /// Flags that someone waits for, or that change how memory is accessed, are the handler's.
    pub(super) fn sysret(&mut self, op: &Op) -> Result<Then, Refused> {
        const OTHERS: u32 = (rflags::TF | rflags::AC) as u32;
        let mode = self.frame.mode;
        if mode.code32 || !mode.is_supervisor() {
            return Err(Refused);
        }
        self.flags_to_memory();
        let site = self.site(op, true);
        self.asm.test_byte(native::FAST_READY);
        let mut slow: Vec<Miss> = vec![self.asm.jump_if(condition::EQUAL).into()];
        self.asm.compare_word(native::ATTENTION, 0);
        slow.push(self.asm.jump_if(condition::NOT_EQUAL).into());
        slow.push(self.unless_mode(Mode {
            set: set::USER as u8,
            ..mode
        }));
        self.asm.copy(RAX, RCX);
        slow.push(self.asm.jump_unless_canonical().into());
        self.asm.load(R13, native::gpr(R11));
        // test r13d, OTHERS
        self.asm.raw(&[0x41, 0xf7, 0xc5]);
        self.asm.raw(&OTHERS.to_le_bytes());
        slow.push(self.asm.jump_if(condition::NOT_EQUAL).into());
        self.asm.jump_to(self.frame.stubs.sysret);
        self.slow_way_to(slow, site);
        Ok(Then::Ended)
    }

    /// The jump that is taken unless the table of jumps of a mode is filled for it.
    pub(super) fn unless_mode(&mut self, mode: Mode) -> Miss {
        self.asm
            .compare_half(native::jump_mode(mode.set()), mode.bits());
        self.asm.jump_if(condition::NOT_EQUAL).into()
    }
}

/// Writes the stub that enters the kernel, whose accesses are of `set`. RCX is where it returns to.
pub(super) fn write_syscall(asm: &mut Assembler, set: usize, further: u64) {
    // movzx r13d, byte gs:[status + 1]; and r13d, 0d5h; or r13, gs:[rflags]
    asm.raw(&[0x65, 0x44, 0x0f, 0xb6, 0x2c, 0x25]);
    asm.raw(&(native::STATUS + 1).to_le_bytes());
    asm.mask_r13(0xd5);
    asm.raw(&[0x65, 0x4c, 0x0b, 0x2c, 0x25]);
    asm.raw(&native::RFLAGS.to_le_bytes());
    // movzx eax, byte gs:[status]; shl eax, 11; or r13, rax; and r13, !RF
    asm.raw(&[0x65, 0x0f, 0xb6, 0x04, 0x25]);
    asm.raw(&native::STATUS.to_le_bytes());
    asm.raw(&[0xc1, 0xe0, 11, 0x49, 0x09, 0xc5, 0x49, 0x81, 0xe5]);
    asm.raw(&(!(rflags::RF as u32)).to_le_bytes());
    asm.store(native::gpr(R11), R13);
    // mov rax, gs:[kept]; and gs:[rflags], rax
    asm.load(RAX, native::FAST_KEPT);
    asm.raw(&[0x65, 0x48, 0x21, 0x04, 0x25]);
    asm.raw(&native::RFLAGS.to_le_bytes());
    // The mask has all status flags.
    asm.set_half(native::STATUS, 0x200);
    enter(asm, 0, set, 0);
    asm.load(RAX, native::LSTAR);
    go(asm, set, None, further);
}

/// Writes the stub that returns to user mode at RCX with the flags in R13.
pub(super) fn write_sysret(asm: &mut Assembler, further: u64) {
    const KEPT: u32 = (SYSRET_FLAGS & !rflags::STATUS) as u32;
    // mov eax, r13d; shl eax, 8; and eax, 0d500h; mov r12d, r13d; shr r12d, 11; and r12d, 1
    asm.copy_low(RAX, R13);
    asm.raw(&[0xc1, 0xe0, 8, 0x25, 0x00, 0xd5, 0, 0]);
    asm.copy_low(R12, R13);
    asm.raw(&[0x41, 0xc1, 0xec, 11, 0x41, 0x83, 0xe4, 1]);
    // or eax, r12d; or eax, 200h (the bit that LAHF always sets)
    asm.raw(&[0x44, 0x09, 0xe0, 0x0d, 0x00, 0x02, 0, 0]);
    asm.store_word(native::STATUS, RAX);
    asm.mask_r13(KEPT);
    // or r13d, FIXED
    asm.raw(&[0x41, 0x83, 0xcd, rflags::FIXED as u8]);
    asm.store(native::RFLAGS, R13);
    enter(asm, 3, set::USER, FETCH_ENTRIES as u32);
    asm.copy(RAX, RCX);
    go(asm, set::USER, Some(native::SALT), further);
}

/// Changes to privilege `level`: CS and SS, and how memory is accessed. Uses RAX.
fn enter(asm: &mut Assembler, level: u8, set: usize, fetch: u32) {
    asm.set_byte(native::CPL, level);
    asm.set_wide(native::CURRENT_SET, set as u32);
    asm.set_wide(native::FETCH_CURRENT, fetch);
    const WORDS: u32 = (size_of::<Segment>() / 8) as u32;
    const { assert!(size_of::<Segment>().is_multiple_of(8)) };
    let registers = [SegmentRegister::Cs, SegmentRegister::Ss];
    for (n, register) in (0..).zip(registers) {
        for word in 0..WORDS {
            asm.load(RAX, native::fast_segment(level, n) + word * 8);
            asm.store(native::segment(register as u8) + word * 8, RAX);
        }
    }
    // xor eax, eax
    asm.raw(&[0x31, 0xc0]);
    for register in registers {
        asm.store(native::segment_base(register as u8), RAX);
    }
}

/// Goes on at the address in RAX, or looks further.
fn go(asm: &mut Assembler, set: usize, salt: Option<u32>, further: u64) {
    asm.hash_rax(salt);
    asm.mask_r13(OFFSET_MASK);
    asm.compare_slot(native::jump_tag(set));
    let unknown = asm.jump_if(condition::NOT_EQUAL);
    asm.land_at(unknown, further);
    asm.jump_slot(native::jump_code(set));
}
