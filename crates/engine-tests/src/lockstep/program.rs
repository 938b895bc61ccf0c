//! Programs: basic blocks with loops, calls and jumps of all kinds over a few pages of code, ended by
//! an interrupt after a number of rounds that a register counts.

use iced_x86::code_asm::{
    AsmRegister32, AsmRegister64, CodeAssembler, CodeLabel, get_gpr32, get_gpr64,
};
use iced_x86::{
    Code, Decoder, DecoderOptions, IcedError, Instruction, InstructionInfoFactory, Register,
};
use x86::CpuState;

use super::choices::Choices;
use super::handlers::{END, RECOVERIES, Told};
use super::layout::{CODE_PAGES, Mapping, PAGE, PLACES, PLACES_32, REGION, STACK_TOP, code_at};
use super::narrow::{Fixup, Spot};
use super::opcodes::{POOLS, POOLS_32};
use super::operands::Roles;
use super::state;

/// A guest's memory and registers at the start.
#[derive(Debug, Clone)]
pub struct Program {
    pub(crate) mapping: Mapping,
    pub(crate) told: Told,
    /// Contents of the code pages.
    pub(crate) code: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) state: CpuState,
    /// The machine interrupts it at moments of the host's choosing.
    pub(crate) interrupted: bool,
    /// Where in the code its instructions are, and how long.
    pub(crate) instructions: Vec<std::ops::Range<usize>>,
    /// Width of its code: 32 or 64.
    pub(crate) bits: u32,
}

/// What the instructions of a program mostly are.
#[derive(Debug, Clone, Copy)]
enum Flavour {
    Integer,
    Vector,
    X87,
    All,
}

pub(super) struct Writer<'c, 's> {
    pub(super) a: CodeAssembler,
    pub(super) choices: &'c mut Choices<'s>,
    pub(super) roles: Roles,
    pub(super) user: bool,
    flavour: Flavour,
    infos: InstructionInfoFactory,
    pub(super) blocks: Vec<CodeLabel>,
    pub(super) end: CodeLabel,
    /// Where 32-bit code needs addresses of labels.
    pub(super) fixups: Vec<Fixup>,
    pub(super) inside: Vec<CodeLabel>,
    /// Immediates of instructions that the program may change.
    pub(super) patches: Vec<CodeLabel>,
    patched: usize,
}

/// The 64-bit register as the assembler wants it.
pub(super) fn wide(register: Register) -> AsmRegister64 {
    get_gpr64(register.full_register()).unwrap_or(iced_x86::code_asm::rax)
}

/// Its lower half.
pub(super) fn narrow(register: Register) -> AsmRegister32 {
    get_gpr32(register.full_register32()).unwrap_or(iced_x86::code_asm::eax)
}

impl Program {
    /// The program that the choices lead to; `None` where they lead nowhere.
    #[must_use]
    pub fn new(choices: &mut Choices<'_>) -> Option<Program> {
        Program::of_bits(choices, 64)
    }

    /// Likewise one of 32-bit code.
    #[must_use]
    pub fn new_32(choices: &mut Choices<'_>) -> Option<Program> {
        Program::of_bits(choices, 32)
    }

    fn of_bits(choices: &mut Choices<'_>, bits: u32) -> Option<Program> {
        let place = if bits == 32 {
            choices.pick(&PLACES_32)
        } else {
            choices.pick(&PLACES)
        };
        let mapping = Mapping {
            user: choices.chance(2),
            global: choices.chance(2),
            used: choices.chance(2),
        };
        let interrupted = choices.chance(8);
        let start = place.wrapping_add(REGION);
        let (code, recovery, roles, instructions) =
            write(choices, place, mapping.user, bits).ok()??;
        let told = Told {
            own_stack: mapping.user || choices.chance(2),
            region: start,
            stack_top: place.wrapping_add(STACK_TOP - 0x400),
            limit: 4 + choices.below(28),
            recovery,
        };
        let state = state::at_start(choices, &roles, &told, mapping.user, interrupted);
        // A fuzzer's bytes are too dear for data.
        let mut random = Choices::of_case(choices.next(), 0);
        let mut data = vec![0; super::layout::data_range().len()];
        for lane in data.chunks_exact_mut(8) {
            lane.copy_from_slice(&random.lane().to_le_bytes());
        }
        Some(Program {
            mapping,
            told,
            code,
            data,
            state,
            interrupted,
            instructions,
            bits,
        })
    }

    /// Makes it a slightly different one: a register is other at the start that the end shows.
    pub fn change_start(&mut self) {
        self.state.fpu.ymm[15][31] ^= 1;
        self.data[0] ^= 1;
    }

    /// RAM as it is at the start.
    pub(crate) fn fill(&self, ram: &mut [u8], handlers: &super::handlers::Handlers) {
        ram.fill(0);
        super::layout::write_tables(ram, self.mapping);
        handlers.write(ram, &self.told);
        let code = code_at(0);
        ram[code..code + self.code.len()].copy_from_slice(&self.code);
        ram[super::layout::data_range()].copy_from_slice(&self.data);
    }
}

type Written = (Vec<u8>, Vec<u64>, Roles, Vec<std::ops::Range<usize>>);

fn write(
    choices: &mut Choices<'_>,
    place: u64,
    user: bool,
    bits: u32,
) -> Result<Option<Written>, IcedError> {
    let roles = if bits == 32 {
        Roles::narrow(choices, place)
    } else {
        Roles::new(choices, place)
    };
    let flavour = choices.pick(&[
        Flavour::Integer,
        Flavour::Integer,
        Flavour::Integer,
        Flavour::Vector,
        Flavour::X87,
        Flavour::All,
    ]);
    let count = 3 + choices.below(20) as usize;
    let mut a = CodeAssembler::new(bits)?;
    let blocks: Vec<_> = (0..count).map(|_| a.create_label()).collect();
    let patches = (0..choices.below(5)).map(|_| a.create_label()).collect();
    let end = a.create_label();
    let mut writer = Writer {
        a,
        choices,
        roles,
        user,
        flavour,
        infos: InstructionInfoFactory::new(),
        blocks,
        end,
        patches,
        patched: 0,
        fixups: Vec::new(),
        inside: Vec::new(),
    };
    let gap = writer.choices.pick(&[0, 4, 40, 400]);
    for n in 0..count {
        writer.gap(gap)?;
        writer.block(n)?;
    }
    writer.finish()?;
    let start = place.wrapping_add(REGION);
    let options = iced_x86::BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
    let result = writer.a.assemble_options(start, options)?;
    let mut recovery = Vec::new();
    for n in 0..RECOVERIES as usize {
        recovery.push(result.label_ip(&writer.blocks[n % count])?);
    }
    let mut places = Vec::new();
    for fixup in &writer.fixups {
        let at = result.label_ip(&fixup.from)? - start;
        let to = match fixup.to {
            Spot::Block(n) => &writer.blocks[n],
            Spot::Patch(n) => &writer.patches[n],
            Spot::Inside(n) => &writer.inside[n],
        };
        places.push((at as usize + fixup.offset, result.label_ip(to)? as u32));
    }
    let mut offsets = result.inner.new_instruction_offsets;
    let mut code = result.inner.code_buffer;
    for (at, address) in places {
        code[at..at + 4].copy_from_slice(&address.to_le_bytes());
    }
    let room = (CODE_PAGES * PAGE) as usize;
    if code.len() > room {
        return Ok(None);
    }
    offsets.dedup();
    let instructions = offsets
        .iter()
        .filter_map(|&at| length_at(&code, at, bits))
        .collect();
    code.resize(room, 0xcc);
    Ok(Some((code, recovery, writer.roles, instructions)))
}

/// Where the instruction at this offset lies; `None` for what is none.
fn length_at(code: &[u8], at: u32, bits: u32) -> Option<std::ops::Range<usize>> {
    let at = at as usize;
    let bytes = code
        .get(at..)
        .filter(|bytes| bytes.first() != Some(&0xcc))?;
    let len = Decoder::new(bits, bytes, DecoderOptions::NONE)
        .decode()
        .len();
    Some(at..at + len)
}

impl Writer<'_, '_> {
    /// Bytes that are not run, so that blocks lie anywhere in their page.
    fn gap(&mut self, most: u64) -> Result<(), IcedError> {
        if most == 0 || self.choices.chance(2) {
            return Ok(());
        }
        let mut over = self.a.create_label();
        self.a.jmp(over)?;
        let len = self.choices.below(most) as usize + 1;
        self.a.db(&vec![0xcc; len])?;
        self.a.set_label(&mut over)?;
        self.a.zero_bytes()
    }

    fn block(&mut self, n: usize) -> Result<(), IcedError> {
        let mut label = self.blocks[n];
        self.a.set_label(&mut label)?;
        self.blocks[n] = label;
        self.a.nop()?;
        // Now and then more than a unit holds.
        let most = if self.choices.chance(12) { 90 } else { 12 };
        for _ in 0..self.choices.below(most) {
            self.item()?;
        }
        if self.roles.narrow {
            self.terminator_32(n)
        } else {
            self.terminator(n)
        }
    }

    fn item(&mut self) -> Result<(), IcedError> {
        if self.roles.narrow {
            return self.item_32();
        }
        match self.choices.below(32) {
            0..=2 => self.aim(),
            3 => self.small_index(),
            4 | 5 => self.stack(),
            6 => self.flags(),
            7 => self.skip(),
            8 => self.patch(),
            9 => self.string(),
            10 => self.control_words(),
            11 if self.choices.chance(3) => self.trap(),
            12 if !self.user => self.system(),
            13 if self.choices.chance(2) => self.divide(),
            _ => self.random(),
        }
    }

    /// Some instruction of the program's flavour.
    pub(super) fn random(&mut self) -> Result<(), IcedError> {
        for _ in 0..8 {
            let pools = if self.roles.narrow {
                &*POOLS_32
            } else {
                &*POOLS
            };
            let kind = self.choices.below(16);
            let pool = match (self.flavour, kind) {
                (Flavour::All, 0..=2) => &pools.bits,
                (Flavour::All, 3..=5) => &pools.vector,
                (Flavour::All, 6..=7) => &pools.vex,
                (Flavour::All, 8) => &pools.x87,
                (Flavour::Vector, 0..=4) => &pools.vector,
                (Flavour::Vector, 5..=9) => &pools.vex,
                (Flavour::X87, 0..=8) => &pools.x87,
                (_, 15) => &pools.bits,
                (_, 14) if self.choices.chance(4) => &pools.vector,
                _ => &pools.integer,
            };
            let code = self.choices.pick(pool);
            if let Some(insn) = self.roles.instruction(self.choices, code, &mut self.infos) {
                return self.add(insn);
            }
        }
        self.a.nop()
    }

    /// Adds an instruction if it can be encoded.
    fn add(&mut self, insn: Instruction) -> Result<(), IcedError> {
        let mut encoder = iced_x86::Encoder::try_new(self.a.bitness())?;
        let at = self.roles.place.wrapping_add(REGION);
        if encoder.encode(&insn, at).is_err() {
            return self.a.nop();
        }
        self.a.add_instruction(insn)
    }

    /// A jump over one instruction.
    pub(super) fn skip(&mut self) -> Result<(), IcedError> {
        let mut over = self.a.create_label();
        self.jcc(over)?;
        self.random()?;
        self.a.set_label(&mut over)?;
        self.a.zero_bytes()
    }

    /// Some conditional jump.
    pub(super) fn jcc(&mut self, to: CodeLabel) -> Result<(), IcedError> {
        let a = &mut self.a;
        match self.choices.below(16) {
            0 => a.jo(to),
            1 => a.jno(to),
            2 => a.jb(to),
            3 => a.jae(to),
            4 => a.je(to),
            5 => a.jne(to),
            6 => a.jbe(to),
            7 => a.ja(to),
            8 => a.js(to),
            9 => a.jns(to),
            10 => a.jp(to),
            11 => a.jnp(to),
            12 => a.jl(to),
            13 => a.jge(to),
            14 => a.jle(to),
            _ => a.jg(to),
        }
    }

    /// Counts a round; the last one ends the program. Half of the time flags stay.
    fn count(&mut self) -> Result<(), IcedError> {
        use iced_x86::code_asm::rcx;
        let counter = wide(self.roles.counter);
        if self.choices.chance(2) {
            self.a.dec(counter)?;
            return self.a.jle(self.end);
        }
        let mut on = self.a.create_label();
        let mut out = self.a.create_label();
        self.a.lea(counter, counter - 1)?;
        self.a.xchg(rcx, counter)?;
        self.a.jrcxz(out)?;
        self.a.xchg(rcx, counter)?;
        self.a.jmp(on)?;
        self.a.set_label(&mut out)?;
        self.a.xchg(rcx, counter)?;
        self.a.jmp(self.end)?;
        self.a.set_label(&mut on)?;
        self.a.zero_bytes()
    }

    pub(super) fn any_block(&mut self) -> CodeLabel {
        self.choices.pick(&self.blocks)
    }

    /// A block after this one.
    pub(super) fn later(&mut self, n: usize) -> CodeLabel {
        let after = self.blocks.get(n + 1..).unwrap_or_default();
        if after.is_empty() {
            self.end
        } else {
            self.choices.pick(after)
        }
    }

    fn terminator(&mut self, n: usize) -> Result<(), IcedError> {
        match self.choices.below(20) {
            0..=2 => Ok(()),
            3..=5 => {
                let to = self.later(n);
                self.jcc(to)
            }
            6..=9 => {
                self.count()?;
                let to = self.any_block();
                self.jcc(to)
            }
            10 => {
                let to = self.later(n);
                self.a.jmp(to)
            }
            11 => {
                self.count()?;
                let to = self.any_block();
                self.a.jmp(to)
            }
            12 | 13 => {
                self.count()?;
                let to = self.any_block();
                self.a.call(to)
            }
            14 | 15 => {
                self.count()?;
                match self.choices.below(3) {
                    0 => self.a.ret_1(8 * self.choices.below(3) as i32),
                    _ => self.a.ret(),
                }
            }
            16 | 17 => self.indirect(),
            18 => {
                let to = self.later(n);
                let mut over = self.a.create_label();
                match self.choices.below(3) {
                    0 => self.a.jrcxz(over)?,
                    1 => self.a.jecxz(over)?,
                    _ if self.roles.is_free(Register::RCX) => self.a.loop_(over)?,
                    _ => {}
                }
                self.a.jmp(to)?;
                self.a.set_label(&mut over)?;
                self.a.zero_bytes()
            }
            _ if self.choices.chance(4) => self.a.jmp(self.end),
            _ => Ok(()),
        }
    }

    /// Goes to some block by way of a register or of memory.
    fn indirect(&mut self) -> Result<(), IcedError> {
        use iced_x86::code_asm::{qword_ptr, rsp};
        self.count()?;
        let to = self.any_block();
        let register = wide(self.roles.free(self.choices));
        self.a.lea(register, qword_ptr(to))?;
        match self.choices.below(6) {
            0 => self.a.jmp(register),
            1 => self.a.call(register),
            2 => {
                self.a.push(register)?;
                self.a.ret()
            }
            3 => {
                self.a.push(register)?;
                self.a.jmp(qword_ptr(rsp))
            }
            4 => {
                self.a.push(register)?;
                self.a.call(qword_ptr(rsp))
            }
            _ => {
                let pointer = wide(self.choices.pick(&self.roles.pointers));
                self.a.mov(qword_ptr(pointer), register)?;
                self.a.jmp(qword_ptr(pointer))
            }
        }
    }

    /// Patchable instructions that no block has, and the end.
    fn finish(&mut self) -> Result<(), IcedError> {
        while self.patched < self.patches.len() {
            self.patchable()?;
        }
        let mut end = self.end;
        self.a.set_label(&mut end)?;
        self.end = end;
        self.a.int(i32::from(END))
    }

    /// The next instruction whose immediate is changed elsewhere, if there is one left.
    pub(super) fn patchable(&mut self) -> Result<(), IcedError> {
        let Some(label) = self.patches.get(self.patched) else {
            return Ok(());
        };
        let mut label = *label;
        self.a.set_label(&mut label)?;
        self.patches[self.patched] = label;
        self.patched += 1;
        let register = self.roles.free(self.choices);
        let mut insn = Instruction::with2(
            Code::Mov_r32_imm32,
            register.full_register32(),
            self.choices.next() as u32,
        )?;
        if self.choices.chance(2) {
            let value = self.choices.next() as i32;
            insn = if self.roles.narrow {
                Instruction::with2(Code::Add_rm32_imm32, register.full_register32(), value)?
            } else {
                Instruction::with2(Code::Add_rm64_imm32, register, value)?
            };
        }
        self.a.add_instruction(insn)
    }
}
