//! Parts of 32-bit programs, which run in compatibility mode under the same 64-bit handlers: what
//! [`super::program`] and [`super::special`] make of 64-bit registers, segments that are not flat, and
//! excursions into 64-bit code.

use iced_x86::code_asm::*;
use iced_x86::{Code, IcedError, Instruction, Register};

use super::handlers::{NOTHING, selector};
use super::layout::{DATA_PAGES, FIRST_DATA, PAGE, PT, REGION};
use super::opcodes::POOLS_32;
use super::program::{Writer, narrow};

/// A place that holds an address: its offset from a label, and what it is the address of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fixup {
    pub(super) from: CodeLabel,
    pub(super) offset: usize,
    pub(super) to: Spot,
}

/// Code whose address is wanted. Labels know where they are only after it is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Spot {
    Block(usize),
    Patch(usize),
    Inside(usize),
}

impl Writer<'_, '_> {
    fn free_32(&mut self) -> AsmRegister32 {
        narrow(self.roles.free(self.choices))
    }

    fn pointer_32(&mut self) -> AsmRegister32 {
        narrow(self.choices.pick(&self.roles.pointers))
    }

    fn any_32(&mut self) -> AsmRegister32 {
        narrow(Register::RAX + self.choices.below(8) as u32)
    }

    fn are_free(&self, registers: &[Register]) -> bool {
        registers.iter().all(|&r| self.roles.is_free(r))
    }

    fn target_32(&mut self) -> u32 {
        self.roles.target(self.choices) as u32
    }

    /// Adds what begins with one byte of opcode and an immediate of 32 bits: the label's address.
    fn add_with_address(&mut self, insn: Instruction, to: Spot) -> Result<(), IcedError> {
        let mut from = self.a.create_label();
        self.a.set_label(&mut from)?;
        self.a.add_instruction(insn)?;
        let offset = 1;
        self.fixups.push(Fixup { from, offset, to });
        Ok(())
    }

    fn load_address(&mut self, to: AsmRegister32, spot: Spot) -> Result<(), IcedError> {
        let insn = Instruction::with2(Code::Mov_r32_imm32, Register::from(to), 0u32)?;
        self.add_with_address(insn, spot)
    }

    fn push_address(&mut self, spot: Spot) -> Result<(), IcedError> {
        let insn = Instruction::with1(Code::Pushd_imm32, 0i32)?;
        self.add_with_address(insn, spot)
    }

    pub(super) fn item_32(&mut self) -> Result<(), IcedError> {
        match self.choices.below(32) {
            0..=2 => self.aim_32(),
            3 => self.small_index_32(),
            4..=6 => self.stack_32(),
            7 => self.flags_32(),
            8 => self.skip(),
            9 => self.patch_32(),
            10 => self.string_32(),
            11 if self.choices.chance(3) => self.trap_32(),
            12 if !self.user => self.system_32(),
            13 if self.choices.chance(2) => self.divide_32(),
            14 if self.choices.chance(2) => self.segments(),
            15 if self.choices.chance(4) => self.excursion(),
            _ => self.random(),
        }
    }

    fn aim_32(&mut self) -> Result<(), IcedError> {
        let pointer = self.pointer_32();
        if self.choices.chance(4) {
            let step = self.choices.below(0x200) as i32 - 0x100;
            return match self.choices.below(4) {
                0 => self.a.lea(pointer, pointer + step),
                1 => self.a.add(pointer, step),
                2 => self.a.inc(pointer),
                _ => self.a.lea(pointer, pointer + narrow(self.roles.index)),
            };
        }
        let target = self.target_32();
        self.a.mov(pointer, target)
    }

    fn small_index_32(&mut self) -> Result<(), IcedError> {
        let value = self.choices.below(80) as i32 - 16;
        self.a.mov(narrow(self.roles.index), value)
    }

    fn stack_32(&mut self) -> Result<(), IcedError> {
        let (any, free, pointer) = (self.any_32(), self.free_32(), self.pointer_32());
        let low = |register: AsmRegister32| {
            get_gpr16(Register::AX + Register::from(register).number() as u32).unwrap_or(ax)
        };
        match self.choices.below(18) {
            0..=2 => self.a.push(any),
            3..=5 => self.a.pop(free),
            6 => self.a.push(self.choices.next() as i32),
            7 => self.a.push(dword_ptr(pointer)),
            8 => self.a.pop(dword_ptr(pointer)),
            9 => self.a.add(esp, 4),
            10 => self.a.lea(esp, esp - 12),
            11 => {
                self.a.push(low(any))?;
                self.a.pop(low(free))
            }
            12 if self.are_free(&[Register::RBP]) => {
                self.a.push(ebp)?;
                self.a.mov(ebp, esp)?;
                self.random()?;
                self.a.mov(ebp, esp)?;
                self.a.leave()
            }
            13 if self.are_free(&[Register::RBP]) => self
                .a
                .enter(self.choices.below(32) as i32, self.choices.below(3) as i32),
            14 => self.a.pushad(),
            15 => match self.choices.below(3) {
                0 => self.a.push(ds),
                1 => self.a.push(gs),
                _ => self.a.push(cs),
            },
            16 => {
                self.a.mov(dword_ptr(esp + 4), any)?;
                self.a.add(dword_ptr(esp + 8), self.choices.next() as i32)
            }
            _ => self.a.pop(dword_ptr(esp)),
        }
    }

    fn flags_32(&mut self) -> Result<(), IcedError> {
        let free = self.free_32();
        match self.choices.below(6) {
            0..=2 => {
                self.a.pushfd()?;
                self.a.pop(free)
            }
            3 => {
                self.a.push(self.choices.next() as i32 & 0x8d5)?;
                self.a.popfd()
            }
            4 => {
                let bits = [0x100, 0x400, 0x4000, 0x4_0000, 0x20_0000, 0x200, 0x1_0000];
                let bit = self.choices.pick(&bits);
                self.a.push(bit | self.choices.next() as i32 & 0x8d5)?;
                self.a.popfd()
            }
            _ => self.a.cld(),
        }
    }

    /// Changes an instruction elsewhere in the program, or is such an instruction.
    fn patch_32(&mut self) -> Result<(), IcedError> {
        if self.choices.chance(2) || self.patches.is_empty() {
            return self.patchable();
        }
        let patch = self.choices.below(self.patches.len() as u64) as usize;
        let free = self.free_32();
        self.load_address(free, Spot::Patch(patch))?;
        if self.choices.chance(2) {
            // By way of the writable alias.
            self.a.lea(free, free + 8 * PAGE as i32)?;
        }
        let value = self.choices.next();
        match self.choices.below(3) {
            0 => self.a.mov(byte_ptr(free + 4), value as i32 & 0x7f),
            1 => self.a.mov(word_ptr(free + 3), value as i32 & 0x7fff),
            _ => self.a.add(byte_ptr(free + 4), 1),
        }
    }

    fn string_32(&mut self) -> Result<(), IcedError> {
        if !self.are_free(&[Register::RSI, Register::RDI, Register::RCX]) {
            return self.random();
        }
        let (from, to) = (self.target_32(), self.target_32());
        self.a.mov(esi, from)?;
        self.a.mov(edi, to)?;
        self.a.mov(ecx, self.choices.below(40) as i32)?;
        let code = self.choices.pick(&POOLS_32.string);
        let mut infos = iced_x86::InstructionInfoFactory::new();
        let Some(mut insn) = self.roles.instruction(self.choices, code, &mut infos) else {
            return self.a.nop();
        };
        if self.choices.chance(2) && insn.op_code().can_use_rep_prefix() {
            insn.set_has_rep_prefix(true);
        }
        self.a.add_instruction(insn)
    }

    fn divide_32(&mut self) -> Result<(), IcedError> {
        if !self.are_free(&[Register::RAX, Register::RDX]) {
            return self.random();
        }
        let (any, pointer) = (self.any_32(), self.pointer_32());
        match self.choices.below(3) {
            0 => self.a.cdq()?,
            1 => self.a.xor(edx, edx)?,
            _ => self.a.and(edx, 0xff)?,
        }
        match self.choices.below(4) {
            0 => self.a.div(any),
            1 => self.a.idiv(any),
            2 => self.a.div(dword_ptr(pointer)),
            _ => self.a.idiv(dword_ptr(pointer)),
        }
    }

    fn trap_32(&mut self) -> Result<(), IcedError> {
        const FIRST: [Register; 4] = [Register::RAX, Register::RBX, Register::RCX, Register::RDX];
        match self.choices.below(8) {
            0 => self.a.int3(),
            1 => self.a.ud2(),
            2 | 3 => self.a.int(i32::from(NOTHING)),
            4 => self.a.hlt(),
            5 if self.are_free(&FIRST) => self.a.cpuid(),
            6 => self.a.pause(),
            _ => self.a.int(0x33),
        }
    }

    /// What only the supervisor may do.
    fn system_32(&mut self) -> Result<(), IcedError> {
        let (free, pointer) = (self.free_32(), self.pointer_32());
        match self.choices.below(10) {
            0 => self.a.stac(),
            1 => self.a.clac(),
            2 => {
                self.a.mov(free, cr3)?;
                self.a.mov(cr3, free)?;
                // No pointer to page tables stays, whose changes the TLB need not see.
                self.a.mov(free, 0)
            }
            3 => self.a.invlpg(byte_ptr(pointer)),
            4 => {
                self.a.mov(free, cr0)?;
                self.a.btc(free, self.choices.pick(&[3, 16]))?;
                self.a.mov(cr0, free)
            }
            5 => self.a.cli(),
            6 => self.a.sti(),
            7 if self.are_free(&[Register::RAX]) => self.a.in_(al, 0x51),
            8 => self.a.out(0x52, eax),
            _ => self.remap_32(),
        }
    }

    /// Changes a data page's table entry and tells the processor.
    fn remap_32(&mut self) -> Result<(), IcedError> {
        let free = self.free_32();
        let page = FIRST_DATA + self.choices.below(DATA_PAGES);
        let bit = self.choices.pick(&[0, 1, 1, 2, 5, 6, 8]);
        self.a.mov(free, (PT + page * 8) as u32)?;
        self.a.btc(dword_ptr(free), bit)?;
        let linear = self.roles.place.wrapping_add(REGION + page * PAGE) as u32;
        self.a.mov(free, linear)?;
        self.a.invlpg(byte_ptr(free))
    }

    /// Loads a segment register: with what it has anyway, with a base, a limit, or nothing at all. Soon
    /// afterwards it is flat again, or the program would be one of exceptions.
    fn segments(&mut self) -> Result<(), IcedError> {
        let free = self.free_32();
        let any = [
            selector::DATA_32,
            selector::LIMITED,
            selector::BASED,
            selector::DOWN,
            0,
        ];
        let wanted = self.choices.pick(&any);
        let register = self.choices.below(6);
        for selector in [wanted, self.flat_data()] {
            self.a.mov(free, i32::from(selector))?;
            match register {
                0 => self.a.mov(ds, free)?,
                1 => self.a.mov(es, free)?,
                2 if selector != 0 => self.a.mov(ss, free)?,
                3 => {
                    self.a.push(free)?;
                    self.a.pop(ds)?;
                }
                // Their limits matter to no other, so they may stay.
                4 => return self.a.mov(fs, free),
                _ => return self.a.mov(gs, free),
            }
            for _ in 0..self.choices.below(4) {
                self.random()?;
            }
        }
        Ok(())
    }

    /// The selector of data that SS may have too.
    fn flat_data(&self) -> u16 {
        if self.user {
            selector::USER_DATA
        } else {
            selector::KERNEL_DATA
        }
    }

    /// Some instructions of 64-bit code, and back.
    fn excursion(&mut self) -> Result<(), IcedError> {
        let (there, back) = if self.user {
            (selector::USER_CODE, selector::USER_CODE_32)
        } else {
            (selector::KERNEL_CODE, selector::KERNEL_CODE_32)
        };
        let mut inside = self.a.create_label();
        let mut after = self.a.create_label();
        self.a.push(i32::from(there))?;
        let spot = self.inside.len();
        self.push_address(Spot::Inside(spot))?;
        self.a.retf()?;
        self.a.set_label(&mut inside)?;
        self.inside.push(inside);
        let work: &[u8] = match self.choices.below(4) {
            // Of registers that 32-bit code does not have, and of upper halves.
            0 => &[0x49, 0xff, 0xc1],                   // inc r9
            1 => &[0x4d, 0x8d, 0x44, 0x24, 0x05],       // lea r8, [r12 + 5]
            2 => &[0x48, 0x0f, 0xba, 0xe8, 0x21, 0xf9], // bts rax, 33; stc
            _ => &[0x4c, 0x8b, 0x14, 0x24],             // mov r10, [rsp]
        };
        let work = if self.are_free(&[Register::RAX]) {
            work
        } else {
            &work[..0]
        };
        let mut code = work.to_vec();
        // push after; mov dword [rsp + 4], back; retf
        code.extend([0x68, 0, 0, 0, 0, 0xc7, 0x44, 0x24, 4]);
        code.extend(u32::from(back).to_le_bytes());
        code.push(0xcb);
        self.a.db(&code)?;
        self.fixups.push(Fixup {
            from: inside,
            offset: work.len() + 1,
            to: Spot::Inside(spot + 1),
        });
        self.a.set_label(&mut after)?;
        self.inside.push(after);
        self.a.nop()
    }

    /// Counts a round; the last one ends the program. Half of the time flags stay.
    fn count_32(&mut self) -> Result<(), IcedError> {
        let counter = narrow(self.roles.counter);
        if self.choices.chance(2) {
            self.a.dec(counter)?;
            return self.a.jle(self.end);
        }
        let mut on = self.a.create_label();
        let mut out = self.a.create_label();
        self.a.lea(counter, counter - 1)?;
        self.a.xchg(ecx, counter)?;
        self.a.jecxz(out)?;
        self.a.xchg(ecx, counter)?;
        self.a.jmp(on)?;
        self.a.set_label(&mut out)?;
        self.a.xchg(ecx, counter)?;
        self.a.jmp(self.end)?;
        self.a.set_label(&mut on)?;
        self.a.zero_bytes()
    }

    pub(super) fn terminator_32(&mut self, n: usize) -> Result<(), IcedError> {
        let later = self.later(n);
        let any = self.any_block();
        match self.choices.below(20) {
            0..=2 => Ok(()),
            3..=5 => self.jcc(later),
            6..=9 => {
                self.count_32()?;
                self.jcc(any)
            }
            10 => self.a.jmp(later),
            11 => {
                self.count_32()?;
                self.a.jmp(any)
            }
            12 | 13 => {
                self.count_32()?;
                self.a.call(any)
            }
            14 | 15 => {
                self.count_32()?;
                match self.choices.below(3) {
                    0 => self.a.ret_1(4 * self.choices.below(3) as i32),
                    _ => self.a.ret(),
                }
            }
            16 | 17 => self.indirect_32(),
            18 => {
                let mut over = self.a.create_label();
                match self.choices.below(2) {
                    0 => self.a.jecxz(over)?,
                    _ if self.are_free(&[Register::RCX]) => self.a.loop_(over)?,
                    _ => {}
                }
                self.a.jmp(later)?;
                self.a.set_label(&mut over)?;
                self.a.zero_bytes()
            }
            _ if self.choices.chance(4) => self.a.jmp(self.end),
            _ => Ok(()),
        }
    }

    /// Goes to a block by way of a register or of memory.
    fn indirect_32(&mut self) -> Result<(), IcedError> {
        self.count_32()?;
        let to = Spot::Block(self.choices.below(self.blocks.len() as u64) as usize);
        let register = self.free_32();
        self.load_address(register, to)?;
        match self.choices.below(6) {
            0 => self.a.jmp(register),
            1 => self.a.call(register),
            2 => {
                self.a.push(register)?;
                self.a.ret()
            }
            3 => {
                self.a.push(register)?;
                self.a.jmp(dword_ptr(esp))
            }
            4 => {
                self.push_address(to)?;
                self.a.call(dword_ptr(esp))
            }
            _ => {
                let pointer = self.pointer_32();
                self.a.mov(dword_ptr(pointer), register)?;
                self.a.jmp(dword_ptr(pointer))
            }
        }
    }
}
