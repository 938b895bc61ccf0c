//! System instructions with a translation of their own: those that kernels run at each system call and
//! each task switch. What they would refuse, and what depends on more than a few fields of the vCPU, is
//! left to their handlers. Spec: Intel SDM Vol. 2 under the instructions' names.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};
use x86::SegmentRegister;
use x86::register::{cr4, rflags};

use super::assembler::condition;
use super::cold::{Cold, Miss};
use super::control::Then;
use super::emitter::{Emitter, Refused};
use super::mode::Mode;
use super::native;
use super::registers::{GUEST_RAX, Number, R13, RAX, RCX, RDX, host_of, number};
use super::unit::Kind;
use crate::cpu::features::has;
use crate::interp::op::{Op, segment_index};
use crate::mmu::set;

/// Is there a translation?
pub(super) fn is_system(insn: &Instruction) -> bool {
    use Mnemonic as M;
    reads_selector(insn)
        || insn.code() == Code::Mov_r64_cr
        || matches!(
            insn.mnemonic(),
            M::Swapgs | M::Stac | M::Clac | M::Rdtsc | M::Rdtscp | M::Cld | M::Std | M::Rdpkru
        )
        || reads_base(insn)
        || writes_base(insn)
}

/// Is it the last of its unit, since accesses after it are of another kind?
pub(super) fn ends_unit(insn: &Instruction, mode: Mode) -> bool {
    match insn.mnemonic() {
        Mnemonic::Stac => mode.set() == set::SUPERVISOR,
        Mnemonic::Clac => mode.set() == set::SUPERVISOR_OPEN,
        _ => false,
    }
}

/// MOV of a segment register to a general one.
fn reads_selector(insn: &Instruction) -> bool {
    let moves = matches!(
        insn.code(),
        Code::Mov_rm16_Sreg | Code::Mov_r32m16_Sreg | Code::Mov_r64m16_Sreg
    );
    moves && insn.op0_kind() == OpKind::Register
}

fn reads_base(insn: &Instruction) -> bool {
    matches!(insn.code(), Code::Rdfsbase_r64 | Code::Rdgsbase_r64)
}

fn writes_base(insn: &Instruction) -> bool {
    matches!(insn.code(), Code::Wrfsbase_r64 | Code::Wrgsbase_r64)
}

const FS: u8 = SegmentRegister::Fs as u8;
const GS: u8 = SegmentRegister::Gs as u8;

impl Emitter<'_> {
    pub(super) fn system(&mut self, insn: &Instruction, op: &Op) -> Result<Then, Refused> {
        match insn.mnemonic() {
            Mnemonic::Mov if insn.code() == Code::Mov_r64_cr => self.read_control(insn)?,
            Mnemonic::Mov => self.read_selector(insn),
            Mnemonic::Swapgs => self.swapgs()?,
            Mnemonic::Stac => return self.stac(op),
            Mnemonic::Clac => return self.clac(op),
            Mnemonic::Cld => self.and_flags(!(rflags::DF as u32)),
            Mnemonic::Std => self.or_flags(rflags::DF as u32),
            Mnemonic::Rdfsbase => self.read_base(insn, op, FS),
            Mnemonic::Rdgsbase => self.read_base(insn, op, GS),
            Mnemonic::Wrfsbase => self.write_base(insn, op, FS),
            Mnemonic::Wrgsbase => self.write_base(insn, op, GS),
            Mnemonic::Rdpkru => self.read_keys(op),
            _ => self.read_counter(insn, op),
        }
        Ok(Then::GoOn)
    }

    fn read_selector(&mut self, insn: &Instruction) {
        // movzx eax, word gs:[selector]
        self.asm.raw(&[0x65, 0x0f, 0xb7, 0x04, 0x25]);
        let at = native::selector(segment_index(insn.op1_register()));
        self.asm.raw(&at.to_le_bytes());
        if insn.code() == Code::Mov_rm16_Sreg {
            self.put_guest_low(insn.op0_register(), RAX);
        } else {
            self.put_guest(insn.op0_register(), RAX);
        }
    }

    /// But CR8, which the machine has.
    fn read_control(&mut self, insn: &Instruction) -> Result<(), Refused> {
        let at = match insn.op1_register() {
            Register::CR0 => native::CR0,
            Register::CR2 => native::CR2,
            Register::CR3 => native::CR3,
            Register::CR4 => native::CR4,
            _ => return Err(Refused),
        };
        if !self.frame.mode.is_supervisor() {
            return Err(Refused);
        }
        self.asm.load(RAX, at);
        self.put_guest(insn.op0_register(), RAX);
        Ok(())
    }

    /// The low 16 bits of a general register.
    fn put_guest_low(&mut self, register: Register, from: Number) {
        let guest = number(register);
        match host_of(guest) {
            Some(host) => self.asm.copy_word(host, from),
            None => self.asm.store_word(native::gpr(guest), from),
        }
    }

    /// All 64 bits of a general register.
    pub(super) fn put_guest(&mut self, register: Register, from: Number) {
        let guest = number(register);
        match host_of(guest) {
            Some(host) => self.asm.copy(host, from),
            None => self.asm.store(native::gpr(guest), from),
        }
    }

    /// Moves alone, so that flags stay where they are.
    fn swapgs(&mut self) -> Result<(), Refused> {
        let mode = self.frame.mode;
        if mode.code32 || !mode.is_supervisor() {
            return Err(Refused);
        }
        self.asm.load(RAX, native::KERNEL_GS_BASE);
        self.asm.load(R13, native::segment_base(GS));
        self.put_base(GS, RAX);
        self.asm.store(native::KERNEL_GS_BASE, R13);
        Ok(())
    }

    fn put_base(&mut self, segment: u8, from: Number) {
        self.asm.store(native::segment_base(segment), from);
        self.asm.store(native::hidden_base(segment), from);
    }

    fn or_flags(&mut self, bits: u32) {
        self.flags_to_memory();
        self.asm.or_word(native::RFLAGS, bits);
    }

    fn and_flags(&mut self, bits: u32) {
        self.flags_to_memory();
        self.asm.and_word(native::RFLAGS, bits);
    }

    /// Where SMAP holds, what follows is another kind of access, in a unit of its own.
    fn stac(&mut self, op: &Op) -> Result<Then, Refused> {
        match self.frame.mode.set() {
            set::SUPERVISOR => {
                self.flags_to_memory();
                let other = self.unless_jumps_of(set::SUPERVISOR_OPEN);
                self.asm.or_word(native::RFLAGS, rflags::AC as u32);
                let site = self.site(op, true);
                self.slow_way_to(vec![other], site);
                self.go_on_as(set::SUPERVISOR_OPEN, op);
                Ok(Then::Ended)
            }
            set::SUPERVISOR_OPEN => {
                self.flags_to_memory();
                let slow = self.unless(native::FEATURES, has::SMAP);
                self.asm.or_word(native::RFLAGS, rflags::AC as u32);
                self.slow_way(vec![slow], op);
                Ok(Then::GoOn)
            }
            _ => Err(Refused),
        }
    }

    fn clac(&mut self, op: &Op) -> Result<Then, Refused> {
        match self.frame.mode.set() {
            // It is clear, or this would be the other kind.
            set::SUPERVISOR => Ok(Then::GoOn),
            set::SUPERVISOR_OPEN => {
                self.flags_to_memory();
                let slow = self.unless(native::CR4, cr4::SMAP as u32);
                let other = self.unless_jumps_of(set::SUPERVISOR);
                self.asm.and_word(native::RFLAGS, !(rflags::AC as u32));
                let site = self.site(op, true);
                self.slow_way_to(vec![slow, other], site);
                self.go_on_as(set::SUPERVISOR, op);
                Ok(Then::Ended)
            }
            _ => Err(Refused),
        }
    }

    /// The jump that is taken when no bit of those at `disp` is set. The flags must not be in EFLAGS alone.
    fn unless(&mut self, disp: u32, bits: u32) -> Miss {
        self.asm.test_word(disp, bits);
        self.asm.jump_if(condition::EQUAL).into()
    }

    /// Goes on after the instruction in a unit whose accesses are of another kind.
    /// The jump that is taken unless this mode, with accesses of `set`, is what the set's table of jumps is filled for.
    fn unless_jumps_of(&mut self, set: usize) -> Miss {
        self.unless_mode(Mode {
            set: set as u8,
            ..self.frame.mode
        })
    }

    fn go_on_as(&mut self, set: usize, op: &Op) {
        self.asm.set_wide(native::CURRENT_SET, set as u32);
        let after = self.frame.unit + op.start + u16::from(op.len);
        if after < 0x1000 {
            let from = self.asm.jump();
            let target = after;
            let kind = Kind::Usual;
            self.cold.push(Cold::Link { from, target, kind });
        } else {
            self.load_rip(RAX, after.into());
            self.asm.jump_to(self.frame.stubs.leave_at);
        }
    }

    /// RDTSC and RDTSCP. The second waits for what is before it, as LFENCE does.
    fn read_counter(&mut self, insn: &Instruction, op: &Op) {
        let with_id = insn.mnemonic() == Mnemonic::Rdtscp;
        self.free_flags();
        let mut slow = Vec::new();
        if !self.frame.mode.is_supervisor() {
            self.asm.test_word(native::CR4, cr4::TSD as u32);
            slow.push(self.asm.jump_if(condition::NOT_EQUAL).into());
        }
        if with_id {
            slow.push(self.unless(native::FEATURES, has::RDTSCP));
            // lfence
            self.asm.raw(&[0x0f, 0xae, 0xe8]);
        }
        // rdtsc; shl rdx, 32; or rax, rdx
        self.asm.raw(&[0x0f, 0x31, 0x48, 0xc1, 0xe2, 32]);
        self.asm.raw(&[0x48, 0x09, 0xd0]);
        self.asm.add_from(RAX, native::TSC_OFFSET);
        self.asm.copy_low(GUEST_RAX, RAX);
        self.asm.copy(RDX, RAX);
        // shr rdx, 32
        self.asm.raw(&[0x48, 0xc1, 0xea, 32]);
        if with_id {
            self.asm.load(RCX, native::TSC_AUX);
        }
        self.slow_way(slow, op);
    }

    /// Where ECX is zero, as it has to be.
    fn read_keys(&mut self, op: &Op) {
        self.free_flags();
        let none = self.unless(native::CR4, cr4::PKE as u32);
        // test ecx, ecx
        self.asm.raw(&[0x85, 0xc9]);
        let wrong = self.asm.jump_if(condition::NOT_EQUAL);
        // mov r15d, gs:[pkru]; xor edx, edx
        self.asm.raw(&[0x65, 0x44, 0x8b, 0x3c, 0x25]);
        self.asm.raw(&native::PKRU.to_le_bytes());
        self.asm.raw(&[0x31, 0xd2]);
        self.slow_way(vec![none, wrong.into()], op);
    }

    fn read_base(&mut self, insn: &Instruction, op: &Op, segment: u8) {
        self.free_flags();
        let slow = self.unless(native::CR4, cr4::FSGSBASE as u32);
        self.asm.load(RAX, native::segment_base(segment));
        self.put_guest(insn.op0_register(), RAX);
        self.slow_way(vec![slow], op);
    }

    fn write_base(&mut self, insn: &Instruction, op: &Op, segment: u8) {
        self.free_flags();
        let slow = self.unless(native::CR4, cr4::FSGSBASE as u32);
        let host = self.guest_in(insn.op0_register(), RAX);
        self.asm.copy(RAX, host);
        let wrong = self.asm.jump_unless_canonical();
        self.put_base(segment, RAX);
        self.slow_way(vec![slow, wrong.into()], op);
    }
}
