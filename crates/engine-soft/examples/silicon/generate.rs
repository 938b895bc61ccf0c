//! Makes random cases: an opcode, operands for it, and registers with which its memory operands lie
//! in the window of pages that guest and host both have.

use iced_x86::{
    Code, CpuidFeature, Decoder, DecoderOptions, Encoder, EncodingKind, FlowControl, Instruction,
    InstructionInfoFactory, MemorySize, Mnemonic, OpCodeOperandKind as Kind, OpKind, Register,
    UsedMemory,
};
use x86::Fpu;

use crate::case::{
    CODE, CODE_PAGES, Case, DATA, DATA_PAGES, PAGE, Registers, WINDOW, WINDOW_PAGES,
};
use crate::random::Random;

/// Sets whose instructions user code may run, that any of our guests may have, and whose results
/// depend on nothing but registers and memory.
const SETS: &[CpuidFeature] = &[
    CpuidFeature::INTEL8086,
    CpuidFeature::INTEL186,
    CpuidFeature::INTEL286,
    CpuidFeature::INTEL386,
    CpuidFeature::INTEL486,
    CpuidFeature::X64,
    CpuidFeature::ADX,
    CpuidFeature::AES,
    CpuidFeature::AVX,
    CpuidFeature::AVX2,
    CpuidFeature::AVX_VNNI,
    CpuidFeature::BMI1,
    CpuidFeature::BMI2,
    CpuidFeature::CMOV,
    CpuidFeature::CMPXCHG16B,
    CpuidFeature::CX8,
    CpuidFeature::F16C,
    CpuidFeature::FMA,
    CpuidFeature::FPU,
    CpuidFeature::FPU287,
    CpuidFeature::FPU387,
    CpuidFeature::FXSR,
    CpuidFeature::GFNI,
    CpuidFeature::LZCNT,
    CpuidFeature::MMX,
    CpuidFeature::MOVBE,
    CpuidFeature::MULTIBYTENOP,
    CpuidFeature::PAUSE,
    CpuidFeature::PCLMULQDQ,
    CpuidFeature::POPCNT,
    CpuidFeature::SHA,
    CpuidFeature::SSE,
    CpuidFeature::SSE2,
    CpuidFeature::SSE3,
    CpuidFeature::SSE4_1,
    CpuidFeature::SSE4_2,
    CpuidFeature::SSSE3,
    CpuidFeature::VAES,
    CpuidFeature::VPCLMULQDQ,
    CpuidFeature::XSAVE,
];

/// What depends on the operating system, or on more than one instruction.
const EXCLUDED: &[Mnemonic] = &[
    Mnemonic::Int,
    Mnemonic::Int1,
    Mnemonic::Int3,
    Mnemonic::Into,
    Mnemonic::Iret,
    Mnemonic::Iretd,
    Mnemonic::Iretq,
    Mnemonic::Retf,
    Mnemonic::Lar,
    Mnemonic::Lsl,
    Mnemonic::Verr,
    Mnemonic::Verw,
    Mnemonic::Sgdt,
    Mnemonic::Sidt,
    Mnemonic::Sldt,
    Mnemonic::Smsw,
    Mnemonic::Str,
    Mnemonic::Lss,
    Mnemonic::Lfs,
    Mnemonic::Lgs,
    Mnemonic::Xgetbv,
    Mnemonic::Xsetbv,
    Mnemonic::Cpuid,
    Mnemonic::Rdtsc,
    Mnemonic::Rdpmc,
    Mnemonic::Prefetchw,
    Mnemonic::Prefetch,
    Mnemonic::Reservednop,
];

/// Names of groups for the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    All,
    Integer,
    X87,
    Mmx,
    Sse,
    Avx,
    Bits,
}

impl Group {
    pub(crate) fn named(name: &str) -> Option<Group> {
        Some(match name {
            "all" => Group::All,
            "integer" => Group::Integer,
            "x87" => Group::X87,
            "mmx" => Group::Mmx,
            "sse" => Group::Sse,
            "avx" => Group::Avx,
            "bits" => Group::Bits,
            _ => return None,
        })
    }

    fn has(self, code: Code) -> bool {
        use CpuidFeature as C;
        let features = code.cpuid_features();
        let any = |list: &[C]| features.iter().any(|feature| list.contains(feature));
        let x87 = any(&[C::FPU, C::FPU287, C::FPU387]);
        let bits = any(&[C::BMI1, C::BMI2, C::ADX, C::LZCNT, C::POPCNT, C::MOVBE]);
        let avx = code.encoding() == EncodingKind::VEX && !bits;
        let mmx = any(&[C::MMX]) || uses_mmx(code);
        let base = any(&[
            C::INTEL8086,
            C::INTEL186,
            C::INTEL286,
            C::INTEL386,
            C::INTEL486,
            C::X64,
            C::CMOV,
            C::CX8,
            C::CMPXCHG16B,
        ]);
        match self {
            Group::All => true,
            Group::X87 => x87,
            Group::Bits => bits,
            Group::Avx => avx,
            Group::Mmx => mmx && !x87,
            Group::Integer => base && !x87,
            Group::Sse => !(x87 || bits || avx || mmx || base),
        }
    }
}

fn uses_mmx(code: Code) -> bool {
    let info = code.op_code();
    (0..info.op_count()).any(|n| {
        matches!(
            info.op_kind(n),
            Kind::mm_reg | Kind::mm_rm | Kind::mm_or_mem
        )
    })
}

/// Opcodes to choose from.
pub(crate) fn opcodes(group: Group) -> Vec<Code> {
    let usable = |code: &Code| {
        let info = code.op_code();
        let features = code.cpuid_features();
        info.is_instruction()
            && info.mode64()
            && matches!(code.encoding(), EncodingKind::Legacy | EncodingKind::VEX)
            && !features.is_empty()
            && features.iter().all(|feature| SETS.contains(feature))
            && !code.is_privileged()
            && !EXCLUDED.contains(&code.mnemonic())
            && !matches!(
                code.flow_control(),
                FlowControl::Interrupt | FlowControl::XbeginXabortXend
            )
            && group.has(*code)
    };
    Code::values().filter(usable).collect()
}

/// One case, or `None` where chance did not make a usable one.
pub(crate) fn case(random: &mut Random, opcodes: &[Code]) -> Option<Case> {
    let code = random.pick(opcodes);
    let mut rip = CODE + 0x400 + random.below(0x800);
    if random.chance(8) {
        // Across the boundary of the code pages.
        rip = CODE + PAGE as u64 - random.below(15);
    }
    let insn = instruction(random, code, rip)?;
    let mut encoder = Encoder::try_new(64).ok()?;
    encoder.encode(&insn, rip).ok()?;
    let mut bytes = encoder.take_buffer();
    if random.chance(16) {
        mutate(random, &mut bytes);
    }
    finish(random, bytes, rip)
}

/// Adds a prefix or flips a bit.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    if random.chance(2) {
        let prefix = random.pick(&[0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x3e, 0x26, 0x36, 0x48, 0x40]);
        bytes.insert(0, prefix);
    } else {
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
    }
}

fn finish(random: &mut Random, bytes: Vec<u8>, rip: u64) -> Option<Case> {
    let mut decoder = Decoder::with_ip(64, &bytes, rip, DecoderOptions::NONE);
    let insn = decoder.decode();
    if insn.is_invalid() || !acceptable(&insn) {
        return None;
    }
    let bytes = bytes[..insn.len()].to_vec();
    let mut registers = registers(random, rip);
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(&insn);
    limit_counts(random, &insn, &mut registers);
    let in_steps = matches!(
        insn.mnemonic(),
        Mnemonic::Dpps | Mnemonic::Dppd | Mnemonic::Vdpps | Mnemonic::Vdppd
    );
    if in_steps {
        // Which of several steps' exceptions are seen depends on the masks.
        registers.fpu.mxcsr |= 0x1f80;
    }
    let operands = operands(&insn, info.used_memory());
    for operand in &operands {
        aim(random, &mut registers, operand);
    }
    if !operands.iter().all(|operand| inside(&registers, operand)) {
        return None;
    }
    let state = is_state(insn.mnemonic());
    if state {
        let named = [insn.memory_base(), insn.memory_index()];
        let used = [Register::RAX, Register::RDX];
        if named.iter().any(|r| used.contains(&r.full_register())) {
            return None;
        }
        // x87, SSE and AVX: what guest and host both have.
        registers.gpr[0] = random.below(8);
        registers.gpr[2] = 0;
    }
    let mut data = vec![0; DATA_PAGES as usize * PAGE];
    for part in data.chunks_mut(32) {
        random.lanes(part);
    }
    if state && let Some(operand) = operands.first() {
        let at = addresses(&registers, operand)[0].wrapping_sub(DATA) as usize;
        state_image(random, &mut data, at);
    }
    Some(Case {
        registers,
        bytes,
        text: insn.to_string_gas(),
        data,
        undefined_flags: undefined(&insn),
        loose_fault: matches!(
            insn.mnemonic(),
            Mnemonic::Cmpsb
                | Mnemonic::Cmpsw
                | Mnemonic::Cmpsd
                | Mnemonic::Cmpsq
                | Mnemonic::Maskmovdqu
                | Mnemonic::Vmaskmovdqu
                | Mnemonic::Xrstor
                | Mnemonic::Xrstor64
        ),
        long_operand: operands.iter().any(|operand| operand.size() > 8),
    })
}

/// Instructions over an FXSAVE or XSAVE area.
fn is_state(mnemonic: Mnemonic) -> bool {
    matches!(
        mnemonic,
        Mnemonic::Fxrstor
            | Mnemonic::Fxrstor64
            | Mnemonic::Xsave
            | Mnemonic::Xsave64
            | Mnemonic::Xrstor
            | Mnemonic::Xrstor64
    )
}

/// Makes what an area at `at` says mostly acceptable.
fn state_image(random: &mut Random, data: &mut [u8], at: usize) {
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(part) = data.get_mut(at..at.wrapping_add(bytes.len())) {
            part.copy_from_slice(bytes);
        }
    };
    if !random.chance(8) {
        put(
            at.wrapping_add(24),
            &(random.next() as u32 & 0xffff).to_le_bytes(),
        );
    }
    if !random.chance(16) {
        let mut header = [0; 64];
        header[0] = random.below(8) as u8;
        if random.chance(16) {
            // The host may have components and a compacted form that the guest does not.
            header[16 + random.below(48) as usize] |= 1 << random.below(8);
        }
        put(at.wrapping_add(512), &header);
    }
}

/// A memory operand, named or implied.
#[derive(Debug, Clone, Copy)]
struct Operand {
    base: Register,
    index: Register,
    scale: u64,
    displacement: u64,
    bytes: usize,
    /// Bytes of an index element, for a vector index.
    vsib: usize,
    /// The address is cut to 32 bits.
    narrow: bool,
}

impl Operand {
    fn size(&self) -> u64 {
        self.bytes.max(1) as u64
    }
}

fn bytes(insn: &Instruction, size: MemorySize) -> usize {
    match insn.mnemonic() {
        Mnemonic::Xsave | Mnemonic::Xsave64 | Mnemonic::Xrstor | Mnemonic::Xrstor64 => 832,
        _ => size.size(),
    }
}

fn operands(insn: &Instruction, used: &[UsedMemory]) -> Vec<Operand> {
    let narrow = |base: Register, index: Register| {
        base.is_gpr32() || index.is_gpr32() || base == Register::EIP
    };
    let mut operands: Vec<_> = used
        .iter()
        .map(|memory| Operand {
            base: memory.base(),
            index: memory.index(),
            scale: u64::from(memory.scale()),
            displacement: memory.displacement(),
            bytes: bytes(insn, memory.memory_size()),
            vsib: memory.vsib_size() as usize,
            narrow: narrow(memory.base(), memory.index()),
        })
        .collect();
    let named = (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory);
    let addresses_only = matches!(insn.mnemonic(), Mnemonic::Lea | Mnemonic::Nop);
    // The decoder's tables name no memory for some instructions that access it.
    if operands.is_empty() && named && !addresses_only {
        let (base, index) = (insn.memory_base(), insn.memory_index());
        operands.push(Operand {
            base: if insn.is_ip_rel_memory_operand() {
                Register::None
            } else {
                base
            },
            index,
            scale: u64::from(insn.memory_index_scale()),
            displacement: insn.memory_displacement64(),
            bytes: bytes(insn, insn.memory_size()),
            vsib: 4,
            narrow: narrow(base, index),
        });
    }
    operands
}

/// Text of the instruction.
trait ToText {
    fn to_string_gas(&self) -> String;
}

impl ToText for Instruction {
    fn to_string_gas(&self) -> String {
        use iced_x86::{Formatter, NasmFormatter};
        let mut text = String::new();
        NasmFormatter::new().format(self, &mut text);
        text
    }
}

fn acceptable(insn: &Instruction) -> bool {
    let features = insn.cpuid_features();
    let own = insn.ip()..insn.next_ip();
    let near = matches!(
        insn.op0_kind(),
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
    );
    let segments = (0..insn.op_count()).any(|n| {
        insn.op_kind(n) == OpKind::Register && !insn.op_register(n).is_gpr() && {
            let register = insn.op_register(n);
            register.is_segment_register() || register.is_cr() || register.is_dr()
        }
    });
    !features.is_empty()
        && features.iter().all(|feature| SETS.contains(feature))
        && matches!(insn.encoding(), EncodingKind::Legacy | EncodingKind::VEX)
        && !insn.is_privileged()
        && !EXCLUDED.contains(&insn.mnemonic())
        && !segments
        && !matches!(insn.segment_prefix(), Register::FS | Register::GS)
        && !(near && own.contains(&insn.near_branch_target()))
        && !matches!(
            insn.flow_control(),
            FlowControl::Interrupt | FlowControl::XbeginXabortXend
        )
        && !insn.is_jmp_far()
        && !insn.is_jmp_far_indirect()
        && !insn.is_call_far()
        && !insn.is_call_far_indirect()
        // A 16-bit branch or stack operation leaves the pages we have.
        && !(near && insn.op0_kind() == OpKind::NearBranch16)
}

/// Flags whose value after the instruction the manuals do not say.
fn undefined(insn: &Instruction) -> u64 {
    use iced_x86::RflagsBits as B;
    let bits = insn.rflags_undefined();
    let map = [
        (B::OF, 11),
        (B::SF, 7),
        (B::ZF, 6),
        (B::AF, 4),
        (B::CF, 0),
        (B::PF, 2),
    ];
    map.iter()
        .filter(|(bit, _)| bits & bit != 0)
        .fold(0, |all, (_, at)| all | 1 << at)
}

fn registers(random: &mut Random, rip: u64) -> Registers {
    let mut gpr = [0; 16];
    for value in &mut gpr {
        *value = random.integer();
    }
    gpr[4] = WINDOW + 0x1000 + 0x800 + random.below(0x100) * 8;
    let status = random.next() & 0x8d5;
    let direction = if random.chance(4) { 1 << 10 } else { 0 };
    Registers {
        gpr,
        rip,
        rflags: 0x202 | status | direction,
        fpu: fpu(random),
    }
}

fn fpu(random: &mut Random) -> Fpu {
    let mut fpu = Fpu::default();
    if random.chance(2) {
        fpu.control =
            0x40 | (random.next() as u16 & 0xf3f) & !0x300 | random.pick(&[0, 0x200, 0x300]);
        if !random.chance(4) {
            fpu.control |= 0x3f;
        }
    }
    let masked = fpu.control & 0x3f;
    fpu.status = random.next() as u16 & 0x7f40 | random.next() as u16 & masked;
    if random.chance(16) {
        fpu.status |= random.next() as u16 & 0x3f;
    }
    if fpu.status & !fpu.control & 0x3f != 0 {
        fpu.status |= 0x8080;
    }
    let tag = random.next() as u8;
    fpu.tag = random.pick(&[0xff, 0xff, 0, tag]);
    fpu.opcode = random.next() as u16 & 0x7ff;
    fpu.instruction_pointer = random.next() & 0xffff_ffff;
    fpu.data_pointer = random.next() & 0xffff_ffff;
    for register in &mut fpu.st {
        *register = random.extended();
    }
    let rounding = random.next() as u32 & 0xe040;
    fpu.mxcsr = match random.below(4) {
        0 => 0x1f80,
        1 => 0x1f80 | rounding | random.next() as u32 & 0x3f,
        2 => 0x1f80 | rounding,
        // Overflow and underflow stay masked: see `native_raw` of the interpreter for what differs.
        _ if random.chance(4) => 0xc00 | rounding | random.next() as u32 & 0x1fbf,
        _ => 0x1fa0,
    };
    for register in &mut fpu.ymm {
        random.lanes(register);
    }
    fpu
}

/// Keeps repetitions and bit offsets small.
fn limit_counts(random: &mut Random, insn: &Instruction, registers: &mut Registers) {
    if insn.is_string_instruction() && (insn.has_rep_prefix() || insn.has_repne_prefix()) {
        registers.gpr[1] = random.below(24);
        if random.chance(4) && insn.code_size() == iced_x86::CodeSize::Code64 {
            registers.gpr[1] = 0;
        }
    }
    let bit_string = matches!(
        insn.mnemonic(),
        Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc
    );
    if bit_string && insn.op0_kind() == OpKind::Memory && insn.op1_kind() == OpKind::Register {
        let offset = random.below(1 << 13) as i64 - (1 << 12);
        registers.gpr[insn.op1_register().full_register().number()] = offset as u64;
    }
}

/// An address for an operand of `size` bytes: mostly in the writable pages, sometimes at an edge.
fn target(random: &mut Random, size: u64) -> u64 {
    let data = WINDOW + 0x1000;
    let aligned = if random.chance(4) {
        1
    } else {
        size.clamp(1, 64).next_power_of_two()
    };
    let at = match random.below(16) {
        // Across the two writable pages.
        0 => data + 0x1000 - random.below(size.max(1) + 1),
        // Across into the read-only page.
        1 => data + 0x2000 - random.below(size.max(1) + 1),
        2 => data + 0x2000 + random.below(0x1000 - 640),
        // Across the end.
        3 => data + 0x3000 - random.below(size.max(1) + 1),
        // Before the start.
        4 => data - random.below(size.max(1) + 1),
        _ => data + 0x200 + random.below(0x1a00),
    };
    at & !(aligned - 1)
}

/// Sets a register of the address so that it lies in the window.
fn aim(random: &mut Random, registers: &mut Registers, memory: &Operand) {
    if inside(registers, memory) && random.chance(2) {
        return;
    }
    let want = target(random, memory.size());
    let Operand { base, index, .. } = *memory;
    if index.is_vector_register() {
        aim_vector(random, registers, memory);
    }
    if base.is_gpr() && (!index.is_gpr() || index != base) {
        let scaled = value(registers, index).wrapping_mul(memory.scale);
        let base_value = want.wrapping_sub(scaled).wrapping_sub(memory.displacement);
        registers.gpr[base.full_register().number()] = base_value;
    } else if index.is_gpr() && base == Register::None {
        let value = want.wrapping_sub(memory.displacement) / memory.scale;
        registers.gpr[index.full_register().number()] = value;
    }
}

/// Small indices in every element.
fn aim_vector(random: &mut Random, registers: &mut Registers, memory: &Operand) {
    let index = &mut registers.fpu.ymm[memory.index.number()];
    for lane in index.chunks_exact_mut(memory.vsib) {
        let value = random.below(0x100) as i64 - 0x80;
        lane.copy_from_slice(&value.to_le_bytes()[..lane.len()]);
    }
}

fn value(registers: &Registers, register: Register) -> u64 {
    if !register.is_gpr() {
        return 0;
    }
    let whole = registers.gpr[register.full_register().number()];
    // XLATB's index is AL.
    if register.is_gpr8() {
        whole & 0xff
    } else {
        whole
    }
}

/// Addresses that the operand forms: one, or one an element.
fn addresses(registers: &Registers, memory: &Operand) -> Vec<u64> {
    let mask = if memory.narrow { 0xffff_ffff } else { u64::MAX };
    let base = value(registers, memory.base).wrapping_add(memory.displacement);
    let at = |index: u64| base.wrapping_add(index.wrapping_mul(memory.scale)) & mask;
    if !memory.index.is_vector_register() {
        return vec![at(value(registers, memory.index))];
    }
    let lanes = registers.fpu.ymm[memory.index.number()].chunks_exact(memory.vsib);
    let signed = |lane: &[u8]| {
        let negative = lane.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut whole = [if negative { 0xff } else { 0 }; 8];
        whole[..lane.len()].copy_from_slice(lane);
        u64::from_le_bytes(whole)
    };
    lanes.map(|lane| at(signed(lane))).collect()
}

/// Does everything that the operand may touch lie in the window?
fn inside(registers: &Registers, memory: &Operand) -> bool {
    // Room for repetitions and bit strings on both sides.
    let first = WINDOW + 0x400;
    let end = WINDOW + WINDOW_PAGES * PAGE as u64 - 0x400;
    let fits = |address: u64| address >= first && address <= end - memory.size();
    addresses(registers, memory).into_iter().all(fits)
}

fn gpr(random: &mut Random, bytes: u32) -> Register {
    let n = random.below(16) as u32;
    match bytes {
        1 if random.chance(3) => {
            random.pick(&[Register::AH, Register::CH, Register::DH, Register::BH])
        }
        1 => Register::AL + if n >= 4 { n + 4 } else { n },
        2 => Register::AX + n,
        4 => Register::EAX + n,
        _ => Register::RAX + n,
    }
}

fn memory(random: &mut Random, insn: &mut Instruction, vsib: Option<Register>, rip: u64) {
    insn.set_memory_displ_size(1);
    insn.set_memory_base(Register::RAX + random.below(16) as u32);
    let displacement = random.pick(&[0, 0, 8, 0x7f, u64::MAX, u64::MAX - 0x7f]);
    insn.set_memory_displacement64(displacement);
    if let Some(first) = vsib {
        insn.set_memory_index(first + random.below(16) as u32);
        insn.set_memory_index_scale(1 << random.below(4));
        return;
    }
    match random.below(8) {
        0 => {
            insn.set_memory_base(Register::RIP);
            insn.set_memory_displ_size(8);
            insn.set_memory_displacement64(target(random, 16).wrapping_sub(0));
        }
        1 => {
            insn.set_memory_base(Register::EAX + random.below(16) as u32);
        }
        2 | 3 => {
            let index = Register::RAX + random.below(16) as u32;
            if index != Register::RSP {
                insn.set_memory_index(index);
                insn.set_memory_index_scale(1 << random.below(4));
            }
        }
        4 => {
            insn.set_memory_displ_size(8);
            let far = random.next() as i32 as i64 as u64;
            insn.set_memory_displacement64(far);
        }
        5 => {
            insn.set_memory_base(Register::None);
            insn.set_memory_displ_size(8);
            insn.set_memory_displacement64(target(random, 16));
        }
        _ => {}
    }
    let _ = rip;
}

/// Fills in the operands of `code`; `None` for kinds that user code has no use for.
fn instruction(random: &mut Random, code: Code, rip: u64) -> Option<Instruction> {
    let info = code.op_code();
    let mut insn = Instruction::default();
    insn.set_code(code);
    for n in 0..info.op_count() {
        let kind = info.op_kind(n);
        if is_memory(random, kind) {
            insn.set_op_kind(n, OpKind::Memory);
            memory(random, &mut insn, vsib(kind), rip);
            continue;
        }
        if let Some(register) = register(random, kind) {
            insn.set_op_kind(n, OpKind::Register);
            insn.set_op_register(n, register);
            continue;
        }
        other(random, &mut insn, n, kind, rip)?;
    }
    decorate(random, &mut insn);
    Some(insn)
}

fn decorate(random: &mut Random, insn: &mut Instruction) {
    let info = insn.op_code();
    if info.can_use_lock_prefix() && insn.op0_kind() == OpKind::Memory && random.chance(4) {
        insn.set_has_lock_prefix(true);
    }
    if insn.is_string_instruction() {
        match random.below(3) {
            0 if info.can_use_rep_prefix() => insn.set_has_rep_prefix(true),
            1 if info.can_use_repne_prefix() => insn.set_has_repne_prefix(true),
            _ => {}
        }
    }
}

fn is_memory(random: &mut Random, kind: Kind) -> bool {
    match kind {
        Kind::mem
        | Kind::mem_vsib32x
        | Kind::mem_vsib64x
        | Kind::mem_vsib32y
        | Kind::mem_vsib64y => true,
        Kind::r8_or_mem
        | Kind::r16_or_mem
        | Kind::r32_or_mem
        | Kind::r64_or_mem
        | Kind::mm_or_mem
        | Kind::xmm_or_mem
        | Kind::ymm_or_mem => random.chance(2),
        _ => false,
    }
}

fn vsib(kind: Kind) -> Option<Register> {
    match kind {
        Kind::mem_vsib32x | Kind::mem_vsib64x => Some(Register::XMM0),
        Kind::mem_vsib32y | Kind::mem_vsib64y => Some(Register::YMM0),
        _ => None,
    }
}

fn register(random: &mut Random, kind: Kind) -> Option<Register> {
    let any = |random: &mut Random, first: Register| first + random.below(16) as u32;
    Some(match kind {
        Kind::r8_or_mem | Kind::r8_reg | Kind::r8_opcode => gpr(random, 1),
        Kind::r16_or_mem | Kind::r16_reg | Kind::r16_rm | Kind::r16_opcode => gpr(random, 2),
        Kind::r32_or_mem | Kind::r32_reg | Kind::r32_rm | Kind::r32_opcode | Kind::r32_vvvv => {
            gpr(random, 4)
        }
        Kind::r64_or_mem | Kind::r64_reg | Kind::r64_rm | Kind::r64_opcode | Kind::r64_vvvv => {
            gpr(random, 8)
        }
        Kind::mm_or_mem | Kind::mm_reg | Kind::mm_rm => Register::MM0 + random.below(8) as u32,
        Kind::xmm_or_mem | Kind::xmm_reg | Kind::xmm_rm | Kind::xmm_vvvv | Kind::xmm_is4 => {
            any(random, Register::XMM0)
        }
        Kind::ymm_or_mem | Kind::ymm_reg | Kind::ymm_rm | Kind::ymm_vvvv | Kind::ymm_is4 => {
            any(random, Register::YMM0)
        }
        Kind::al => Register::AL,
        Kind::cl => Register::CL,
        Kind::ax => Register::AX,
        Kind::dx => Register::DX,
        Kind::eax => Register::EAX,
        Kind::rax => Register::RAX,
        Kind::st0 => Register::ST0,
        Kind::sti_opcode => Register::ST0 + random.below(8) as u32,
        _ => return None,
    })
}

fn other(random: &mut Random, insn: &mut Instruction, n: u32, kind: Kind, rip: u64) -> Option<()> {
    let immediate = |insn: &mut Instruction, kind: OpKind, value: u64| {
        insn.set_op_kind(n, kind);
        match kind {
            OpKind::Immediate16 => insn.set_immediate16(value as u16),
            OpKind::Immediate32 => insn.set_immediate32(value as u32),
            OpKind::Immediate64 => insn.set_immediate64(value),
            OpKind::Immediate32to64 => insn.set_immediate32to64(i64::from(value as i32)),
            _ => insn.set_immediate8(value as u8),
        }
    };
    match kind {
        Kind::imm8 | Kind::imm4_m2z => {
            let second =
                (0..n).any(|k| matches!(insn.op_kind(k), OpKind::Immediate8 | OpKind::Immediate16));
            if second {
                insn.set_op_kind(n, OpKind::Immediate8_2nd);
                insn.set_immediate8_2nd(random.below(4) as u8);
            } else {
                immediate(insn, OpKind::Immediate8, random.integer());
            }
        }
        Kind::imm8_const_1 => immediate(insn, OpKind::Immediate8, 1),
        Kind::imm8sex16 => immediate(insn, OpKind::Immediate8to16, random.integer()),
        Kind::imm8sex32 => immediate(insn, OpKind::Immediate8to32, random.integer()),
        Kind::imm8sex64 => immediate(insn, OpKind::Immediate8to64, random.integer()),
        Kind::imm16 => immediate(insn, OpKind::Immediate16, random.integer()),
        Kind::imm32 => immediate(insn, OpKind::Immediate32, random.integer()),
        Kind::imm32sex64 => immediate(insn, OpKind::Immediate32to64, random.integer()),
        Kind::imm64 => immediate(insn, OpKind::Immediate64, random.integer()),
        Kind::seg_rSI => insn.set_op_kind(
            n,
            random.pick(&[OpKind::MemorySegRSI, OpKind::MemorySegESI]),
        ),
        Kind::es_rDI => {
            insn.set_op_kind(n, random.pick(&[OpKind::MemoryESRDI, OpKind::MemoryESEDI]))
        }
        Kind::seg_rDI => insn.set_op_kind(n, OpKind::MemorySegRDI),
        Kind::seg_rBX_al => {
            insn.set_op_kind(n, OpKind::Memory);
            insn.set_memory_base(Register::RBX);
            insn.set_memory_index(Register::AL);
        }
        Kind::br64_1 | Kind::br64_4 => {
            insn.set_op_kind(n, OpKind::NearBranch64);
            insn.set_near_branch64(rip.wrapping_add(random.below(180)).wrapping_sub(80));
        }
        _ => return None,
    }
    let inside = CODE..CODE + CODE_PAGES * PAGE as u64;
    inside.contains(&rip).then_some(())
}
