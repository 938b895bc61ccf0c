//! Parts of programs that are more than one instruction of chance: stack, flags, strings, code that
//! changes itself, and what only a supervisor does.

use iced_x86::code_asm::*;
use iced_x86::{IcedError, Register};

use super::handlers::{NOTHING, selector};
use super::layout::{DATA_PAGES, FIRST_DATA, PAGE, PT, REGION};
use super::opcodes::POOLS;
use super::program::{Writer, narrow, wide};

impl Writer<'_, '_> {
    fn free(&mut self) -> Register {
        self.roles.free(self.choices)
    }

    fn pointer(&mut self) -> AsmRegister64 {
        wide(self.choices.pick(&self.roles.pointers))
    }

    fn has_free(&self, registers: &[Register]) -> bool {
        registers.iter().all(|&r| self.roles.is_free(r))
    }

    /// Points a pointer at data.
    pub(super) fn aim(&mut self) -> Result<(), IcedError> {
        let pointer = self.pointer();
        if self.choices.chance(4) {
            let step = self.choices.below(0x200) as i32 - 0x100;
            return match self.choices.below(3) {
                0 => self.a.lea(pointer, pointer + step),
                1 => self.a.add(pointer, step),
                _ => self.a.lea(pointer, pointer + wide(self.roles.index)),
            };
        }
        let target = self.roles.target(self.choices);
        self.a.mov(pointer, target)
    }

    pub(super) fn small_index(&mut self) -> Result<(), IcedError> {
        let value = self.choices.below(80) as i32 - 16;
        if value >= 0 && self.choices.chance(2) {
            return self.a.mov(narrow(self.roles.index), value);
        }
        self.a.mov(wide(self.roles.index), i64::from(value))
    }

    pub(super) fn stack(&mut self) -> Result<(), IcedError> {
        let free = self.free();
        let any = Register::RAX + self.choices.below(16) as u32;
        let pointer = self.pointer();
        match self.choices.below(14) {
            0..=2 => self.a.push(wide(any)),
            3..=5 => self.a.pop(wide(free)),
            6 => self.a.push(self.choices.next() as i32),
            7 => self.a.push(qword_ptr(pointer)),
            8 => self.a.pop(qword_ptr(pointer)),
            9 => self.a.add(rsp, 8),
            10 => self.a.lea(rsp, rsp - 24),
            11 => {
                self.a.push(get_gpr16(any.into_16()).unwrap_or(ax))?;
                self.a.pop(get_gpr16(free.into_16()).unwrap_or(ax))
            }
            12 if self.has_free(&[Register::RBP]) => {
                self.a.push(rbp)?;
                self.a.mov(rbp, rsp)?;
                self.random()?;
                self.a.mov(rbp, rsp)?;
                self.a.leave()
            }
            13 if self.has_free(&[Register::RBP]) => self
                .a
                .enter(self.choices.below(32) as i32, self.choices.below(3) as i32),
            _ => self.a.pop(qword_ptr(rsp)),
        }
    }

    pub(super) fn flags(&mut self) -> Result<(), IcedError> {
        let free = self.free();
        match self.choices.below(8) {
            0..=2 => {
                self.a.pushfq()?;
                self.a.pop(wide(free))
            }
            3 => {
                self.a.push(self.choices.next() as i32 & 0x8d5)?;
                self.a.popfq()
            }
            4 => {
                // Trap, direction, nested task, alignment check, identification.
                let bits = [0x100, 0x400, 0x4000, 0x4_0000, 0x20_0000, 0x200, 0x1_0000];
                let bit = self.choices.pick(&bits);
                self.a.push(bit | self.choices.next() as i32 & 0x8d5)?;
                self.a.popfq()
            }
            5 if self.has_free(&[Register::RAX]) => self.a.lahf(),
            6 if self.has_free(&[Register::RAX]) => self.a.sahf(),
            _ => self.a.cld(),
        }
    }

    /// Changes an instruction elsewhere in the program, or is such an instruction.
    pub(super) fn patch(&mut self) -> Result<(), IcedError> {
        if self.choices.chance(2) || self.patches.is_empty() {
            return self.patchable();
        }
        let label = self.choices.pick(&self.patches);
        let free = wide(self.free());
        self.a.lea(free, qword_ptr(label))?;
        if self.choices.chance(2) {
            // By way of the writable alias.
            self.a.lea(free, free + 8 * PAGE as i32)?;
        }
        let value = self.choices.next();
        // Immediates are the last four bytes of five to seven; the third and fourth are in all.
        match self.choices.below(3) {
            0 => self.a.mov(byte_ptr(free + 4), value as i32 & 0x7f),
            1 => self.a.mov(word_ptr(free + 3), value as i32 & 0x7fff),
            _ => self.a.add(byte_ptr(free + 4), 1),
        }
    }

    pub(super) fn string(&mut self) -> Result<(), IcedError> {
        if !self.has_free(&[Register::RSI, Register::RDI, Register::RCX]) {
            return self.random();
        }
        let (from, to) = (
            self.roles.target(self.choices),
            self.roles.target(self.choices),
        );
        self.a.mov(rsi, from)?;
        if self.choices.chance(4) {
            self.a.lea(rdi, rsi + self.choices.below(64) as i32)?;
        } else {
            self.a.mov(rdi, to)?;
        }
        if self.choices.chance(6) {
            let bytes = self.choices.pick(&[xmm1, xmm9]);
            return match self.choices.below(3) {
                0 => self.a.maskmovdqu(bytes, xmm3),
                1 => self.a.vmaskmovdqu(bytes, xmm12),
                _ => self.a.maskmovq(mm2, mm5),
            };
        }
        let code = self.choices.pick(&POOLS.string);
        let count = match self.choices.below(4) {
            0 => self.choices.below(3),
            1 => self.choices.below(1200),
            _ => self.choices.below(40),
        };
        self.a.mov(ecx, count as i32)?;
        let mut infos = iced_x86::InstructionInfoFactory::new();
        let Some(mut insn) = self.roles.instruction(self.choices, code, &mut infos) else {
            return self.a.nop();
        };
        let info = insn.op_code();
        match self.choices.below(3) {
            0 | 1 if info.can_use_rep_prefix() => insn.set_has_rep_prefix(true),
            2 if info.can_use_repne_prefix() => insn.set_has_repne_prefix(true),
            _ => {}
        }
        let backwards = self.choices.chance(6);
        if backwards {
            self.a.std()?;
        }
        self.a.add_instruction(insn)?;
        if backwards && !self.choices.chance(4) {
            self.a.cld()?;
        }
        Ok(())
    }

    /// Loads or stores a control word of the floating-point units.
    pub(super) fn control_words(&mut self) -> Result<(), IcedError> {
        let pointer = self.pointer();
        match self.choices.below(6) {
            0 | 1 => {
                let rounding = self.choices.next() as i32 & 0xe040;
                let unmasked = self.choices.chance(4);
                let masks = if unmasked {
                    self.choices.next() as i32 & 0x1f80
                } else {
                    0x1f80
                };
                self.a.mov(dword_ptr(pointer), masks | rounding)?;
                self.a.ldmxcsr(dword_ptr(pointer))
            }
            2 => self.a.stmxcsr(dword_ptr(pointer)),
            3 => {
                self.a.mov(
                    dword_ptr(pointer),
                    0x37f | self.choices.next() as i32 & 0xc00,
                )?;
                self.a.fldcw(word_ptr(pointer))
            }
            4 => self.a.fninit(),
            _ => self.a.emms(),
        }
    }

    /// A division whose quotient may fit, or just not.
    pub(super) fn divide(&mut self) -> Result<(), IcedError> {
        if !self.has_free(&[Register::RAX, Register::RDX]) {
            return self.random();
        }
        let any = Register::RAX + self.choices.below(16) as u32;
        let pointer = self.pointer();
        if self.choices.chance(2) {
            self.a.mov(rax, self.choices.integer())?;
        }
        let signed = self.choices.chance(2);
        match self.choices.below(5) {
            0 => self.a.cqo()?,
            1 => self.a.cdq()?,
            2 => self.a.xor(edx, edx)?,
            3 => self.a.mov(edx, self.choices.below(8) as i32)?,
            _ => self.a.and(edx, 0xff)?,
        }
        match (self.choices.below(4), signed) {
            (0, false) => self.a.div(wide(any)),
            (0, true) => self.a.idiv(wide(any)),
            (1, false) => self.a.div(narrow(any)),
            (1, true) => self.a.idiv(narrow(any)),
            (2, false) => self.a.div(qword_ptr(pointer)),
            (2, true) => self.a.idiv(qword_ptr(pointer)),
            (_, false) => self.a.div(dword_ptr(pointer + 4)),
            (_, true) => self.a.idiv(dword_ptr(pointer + 4)),
        }
    }

    pub(super) fn trap(&mut self) -> Result<(), IcedError> {
        const FIRST: [Register; 4] = [Register::RAX, Register::RBX, Register::RCX, Register::RDX];
        match self.choices.below(9) {
            6 | 7 if self.user && self.has_free(&[Register::RCX, Register::R11]) => {
                self.a.syscall()
            }
            8 if self.has_free(&FIRST) => self.a.cpuid(),
            6 => self.a.pause(),
            7 => self.a.wrfsbase(wide(self.roles.index)),
            0 => self.a.int3(),
            1 => self.a.ud2(),
            2 | 3 => self.a.int(i32::from(NOTHING)),
            4 => self.a.hlt(),
            _ => self.a.int(0x33),
        }
    }

    /// What only the supervisor may do.
    pub(super) fn system(&mut self) -> Result<(), IcedError> {
        let free = wide(self.free());
        let half = narrow(self.free());
        let pointer = self.pointer();
        match self.choices.below(14) {
            0 => self.a.stac(),
            1 => self.a.clac(),
            2 => {
                self.a.mov(free, cr3)?;
                self.a.mov(cr3, free)?;
                // No pointer to page tables stays, whose changes the TLB need not see.
                self.a.mov(free, 0i64)
            }
            3 => self.a.invlpg(byte_ptr(pointer)),
            4 => {
                self.a.mov(free, cr4)?;
                self.a.btc(free, 7)?;
                self.a.mov(cr4, free)
            }
            5 => {
                self.a.mov(free, cr0)?;
                self.a.btc(free, self.choices.pick(&[3, 16]))?;
                self.a.mov(cr0, free)
            }
            6 => {
                self.a.mov(free, self.choices.below(0x200) as i64 - 0x100)?;
                if self.choices.chance(2) {
                    self.a.wrfsbase(free)
                } else {
                    self.a.wrgsbase(free)
                }
            }
            7 => self.a.swapgs(),
            8 => self.a.cli(),
            9 => self.a.sti(),
            10 => {
                self.a.mov(half, i32::from(selector::KERNEL_DATA))?;
                self.a.mov(ss, half)
            }
            11 if self.has_free(&[Register::RAX]) => self.a.in_(al, 0x51),
            12 => self.a.out(0x52, eax),
            _ => self.remap(),
        }
    }

    /// Changes a data page's table entry and tells the processor.
    fn remap(&mut self) -> Result<(), IcedError> {
        let free = wide(self.free());
        let page = FIRST_DATA + self.choices.below(DATA_PAGES);
        let bit = self.choices.pick(&[0, 1, 1, 2, 5, 6, 8, 63]);
        self.a.mov(free, PT + page * 8)?;
        self.a.btc(qword_ptr(free), bit)?;
        let linear = self.roles.place.wrapping_add(REGION + page * PAGE);
        self.a.mov(free, linear)?;
        self.a.invlpg(byte_ptr(free))
    }
}

trait Narrowed {
    fn into_16(self) -> Register;
}

impl Narrowed for Register {
    /// Its lowest 16 bits.
    fn into_16(self) -> Register {
        Register::AX + self.full_register().number() as u32
    }
}
