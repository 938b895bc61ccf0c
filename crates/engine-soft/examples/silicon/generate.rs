//! Makes random cases: an opcode, operands for it, and registers with which its memory operands lie
//! in the window of pages that guest and host both have.

use iced_x86::{
    Code, Decoder, DecoderOptions, Encoder, Instruction, InstructionInfoFactory, Mnemonic, OpKind,
    Register,
};
use x86::Fpu;

use crate::address::{addresses, aim, inside, operands};
use crate::case::{CODE, CODE_PAGES, Case, DATA, DATA_PAGES, PAGE, Registers, Width};
use crate::opcodes::acceptable;
use crate::operands::instruction;
use crate::random::Random;

/// One case, or `None` where chance did not make a usable one.
pub(crate) fn case(random: &mut Random, width: Width, opcodes: &[Code]) -> Option<Case> {
    let code = random.pick(opcodes);
    let mut rip = CODE + 0x400 + random.below(0x800);
    if random.chance(8) {
        // Across the boundary of the code pages.
        rip = CODE + PAGE as u64 - random.below(15);
    }
    if width == Width::Bits16 && random.chance(16) {
        // At the limit of the segment.
        rip = CODE + CODE_PAGES * PAGE as u64 - 15;
    }
    let rip = rip - width.code_base();
    let insn = instruction(random, width, code, rip)?;
    let mut encoder = Encoder::try_new(width.bits()).ok()?;
    encoder.encode(&insn, rip).ok()?;
    let mut bytes = encoder.take_buffer();
    if random.chance(16) {
        mutate(random, &mut bytes);
    }
    finish(random, width, &bytes, rip)
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

fn finish(random: &mut Random, width: Width, bytes: &[u8], rip: u64) -> Option<Case> {
    let mut decoder = Decoder::with_ip(width.bits(), bytes, rip, DecoderOptions::NONE);
    let insn = decoder.decode();
    if insn.is_invalid() || !acceptable(&insn) {
        return None;
    }
    let bytes = bytes[..insn.len()].to_vec();
    let mut registers = registers(random, width, rip);
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
    let operands = operands(&insn, info.used_memory(), width);
    for operand in &operands {
        aim(random, &mut registers, operand);
    }
    if matches!(insn.mnemonic(), Mnemonic::Popa | Mnemonic::Popad) {
        // A processor that faults halfway keeps what it has popped; nobody relies on that.
        registers.gpr[4] = DATA + 0x800 - width.data_base();
    }
    // The segments' limits keep 16-bit code where it may be.
    if width != Width::Bits16 && !operands.iter().all(|operand| inside(&registers, operand)) {
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
        let first = addresses(&registers, operand)[0].wrapping_add(width.data_base());
        let at = first.wrapping_sub(DATA) as usize;
        state_image(random, &mut data, at);
    }
    for value in &mut registers.gpr {
        *value &= width.mask();
    }
    Some(Case {
        width,
        registers,
        bytes,
        text: text(&insn),
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

/// Text of the instruction, as NASM writes it.
fn text(insn: &Instruction) -> String {
    use iced_x86::{Formatter, NasmFormatter};
    let mut text = String::new();
    NasmFormatter::new().format(insn, &mut text);
    text
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

fn registers(random: &mut Random, width: Width, rip: u64) -> Registers {
    let mut gpr = [0; 16];
    for value in &mut gpr {
        *value = random.integer() & width.mask();
    }
    gpr[4] = DATA + 0x800 + random.below(0x100) * 8 - width.data_base();
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
