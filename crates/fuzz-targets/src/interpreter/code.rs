//! Guest code: each instruction that there is, with operands and prefixes by the input.

use std::sync::LazyLock;

use iced_x86::{
    Code, Decoder, DecoderOptions, EncodingKind, MandatoryPrefix, OpCodeInfo, OpCodeTableKind,
};

use crate::Input;

/// Prefixes that the bits of a byte stand for.
const PREFIXES: [u8; 8] = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x36, 0x64, 0x65];
const LONGEST: usize = 15;

/// What is not EVEX, XOP or of a dead instruction set.
static CODES: LazyLock<Vec<&'static OpCodeInfo>> = LazyLock::new(|| {
    let known = |code: &&'static OpCodeInfo| {
        let table = matches!(
            code.table(),
            OpCodeTableKind::Normal
                | OpCodeTableKind::T0F
                | OpCodeTableKind::T0F38
                | OpCodeTableKind::T0F3A
        );
        let encoding = matches!(code.encoding(), EncodingKind::Legacy | EncodingKind::VEX);
        code.is_instruction() && table && encoding
    };
    Code::values()
        .map(|code| code.op_code())
        .filter(known)
        .collect()
});

/// At most `most` bytes of code for `bitness`. Sometimes it ends with a jump to its start.
pub(super) fn generate(input: &mut Input<'_>, bitness: u32, most: usize) -> Vec<u8> {
    let mut code = Vec::new();
    let count = usize::from(input.byte() & 63);
    let back = input.bool();
    for _ in 0..count {
        if input.is_empty() || code.len() + LONGEST + 5 > most {
            break;
        }
        instruction(input, bitness, &mut code);
    }
    if back && code.len() < 0x7000 {
        // JMP rel16 or rel32, by the code's own width.
        let len = code.len();
        code.push(0xe9);
        if bitness == 16 {
            let back = (len + 3).wrapping_neg() & 0xffff;
            code.extend(&back.to_le_bytes()[..2]);
        } else {
            code.extend(&(len + 5).wrapping_neg().to_le_bytes()[..4]);
        }
    }
    code
}

fn instruction(input: &mut Input<'_>, bitness: u32, code: &mut Vec<u8>) {
    let kind = input.u16();
    if kind & 0xc000 == 0xc000 {
        code.push(kind.to_le_bytes()[0]);
        return;
    }
    let info = CODES[usize::from(kind & 0x3fff) % CODES.len()];
    let mut bytes = Vec::new();
    if info.encoding() == EncodingKind::VEX {
        vex(input, info, &mut bytes);
    } else {
        legacy(input, info, bitness, &mut bytes);
    }
    // What follows, as many bytes as the decoder takes for ModRM, displacement and immediate.
    let start = bytes.len();
    bytes.extend(input.clone().take(LONGEST + 1));
    bytes.resize(start.max(LONGEST + 1), 0);
    let mut decoder = Decoder::new(bitness, &bytes, DecoderOptions::NONE);
    let len = decoder.decode().len().max(start).min(bytes.len());
    input.take(len - start);
    bytes.truncate(len);
    code.extend(bytes);
}

fn mandatory(info: &OpCodeInfo) -> Option<u8> {
    match info.mandatory_prefix() {
        MandatoryPrefix::P66 => Some(0x66),
        MandatoryPrefix::PF3 => Some(0xf3),
        MandatoryPrefix::PF2 => Some(0xf2),
        _ => None,
    }
}

fn op_code(info: &OpCodeInfo, bytes: &mut Vec<u8>) {
    let value = info.op_code().to_be_bytes();
    let len = usize::try_from(info.op_code_len()).unwrap_or(1).clamp(1, 2);
    bytes.extend(&value[4 - len..]);
}

fn legacy(input: &mut Input<'_>, info: &OpCodeInfo, bitness: u32, bytes: &mut Vec<u8>) {
    let choice = input.byte();
    if choice & 3 == 0 {
        let set = input.byte();
        let chosen = (0..8).filter(|bit| set >> bit & 1 != 0);
        bytes.extend(chosen.map(|bit| PREFIXES[bit]).take(4));
    }
    bytes.extend(mandatory(info));
    let operand = info.operand_size();
    let wide = operand == 64;
    if operand != 0 && operand != 64 && operand != bitness.min(32) {
        bytes.push(0x66);
    }
    if bitness == 64 && (wide || choice & 0x80 != 0) {
        let rex = 0x40 | choice >> 3 & 7 | if wide { 8 } else { 0 };
        bytes.push(rex);
    }
    match info.table() {
        OpCodeTableKind::T0F => bytes.push(0x0f),
        OpCodeTableKind::T0F38 => bytes.extend([0x0f, 0x38]),
        OpCodeTableKind::T0F3A => bytes.extend([0x0f, 0x3a]),
        _ => {}
    }
    op_code(info, bytes);
    let group = info.group_index();
    if let Ok(group) = u8::try_from(group) {
        // The op code goes on in the reg field of ModRM.
        let modrm = input.byte();
        bytes.push(modrm & 0xc7 | group << 3);
    }
}

fn vex(input: &mut Input<'_>, info: &OpCodeInfo, bytes: &mut Vec<u8>) {
    let (first, second) = (input.byte(), input.byte());
    let map = match info.table() {
        OpCodeTableKind::T0F => 1,
        OpCodeTableKind::T0F38 => 2,
        _ => 3,
    };
    let pp = match info.mandatory_prefix() {
        MandatoryPrefix::P66 => 1,
        MandatoryPrefix::PF3 => 2,
        MandatoryPrefix::PF2 => 3,
        _ => 0,
    };
    let unused = if first & 0x10 == 0 {
        0x78
    } else {
        second & 0x78
    };
    let wide = if info.w() == 1 { 0x80 } else { 0 };
    let long = if info.l() == 1 { 4 } else { 0 };
    bytes.extend([0xc4, first & 0xe0 | map, wide | unused | long | pp]);
    op_code(info, bytes);
    if let Ok(group) = u8::try_from(info.group_index()) {
        let modrm = input.byte();
        bytes.push(modrm & 0xc7 | group << 3);
    }
}
