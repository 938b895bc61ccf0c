//! Which instructions programs are made of, beside those that [`super::program`] knows by name.

use std::sync::LazyLock;

use iced_x86::{
    Code, CpuidFeature, EncodingKind, FlowControl, Instruction, Mnemonic, OpCodeInfo,
    OpCodeOperandKind as Kind,
};

use crate::sets::REPEATABLE;

/// What tells the time or needs tables, and what programs do by other means.
const EXCLUDED: &[Mnemonic] = &[
    Mnemonic::Rdtsc,
    Mnemonic::Rdtscp,
    Mnemonic::Rdpmc,
    Mnemonic::Hlt,
    Mnemonic::Lds,
    Mnemonic::Les,
    Mnemonic::Lss,
    Mnemonic::Lfs,
    Mnemonic::Lgs,
    Mnemonic::Popfq,
    Mnemonic::Popf,
    Mnemonic::Popfd,
    Mnemonic::Xsetbv,
    // These go where RDI points, which could be page tables.
    Mnemonic::Maskmovq,
    Mnemonic::Maskmovdqu,
    Mnemonic::Vmaskmovdqu,
    Mnemonic::Reservednop,
];

/// Groups of instructions by what executes them.
#[derive(Debug)]
pub(crate) struct Pools {
    pub(crate) integer: Vec<Code>,
    pub(crate) bits: Vec<Code>,
    pub(crate) x87: Vec<Code>,
    pub(crate) vector: Vec<Code>,
    pub(crate) vex: Vec<Code>,
    pub(crate) string: Vec<Code>,
}

pub(crate) static POOLS: LazyLock<Pools> = LazyLock::new(|| Pools::new(|info| info.mode64()));
/// Those of 32-bit code.
pub(crate) static POOLS_32: LazyLock<Pools> = LazyLock::new(|| Pools::new(|info| info.mode32()));

impl Pools {
    fn new(allowed: impl Fn(&OpCodeInfo) -> bool) -> Pools {
        let mut pools = Pools {
            integer: Vec::new(),
            bits: Vec::new(),
            x87: Vec::new(),
            vector: Vec::new(),
            vex: Vec::new(),
            string: Vec::new(),
        };
        let allowed = |code: &Code| allowed(code.op_code());
        for code in Code::values().filter(|code| is_usable(*code) && allowed(code)) {
            pool_of(&mut pools, code).push(code);
        }
        pools
    }
}

fn pool_of(pools: &mut Pools, code: Code) -> &mut Vec<Code> {
    use CpuidFeature as C;
    let features = code.cpuid_features();
    let any = |list: &[C]| features.iter().any(|feature| list.contains(feature));
    let mut insn = Instruction::default();
    insn.set_code(code);
    if insn.is_string_instruction() {
        &mut pools.string
    } else if any(&[C::FPU, C::FPU287, C::FPU387, C::MMX]) || uses_mmx(code) {
        &mut pools.x87
    } else if any(&[C::BMI1, C::BMI2, C::ADX, C::LZCNT, C::POPCNT, C::MOVBE]) {
        &mut pools.bits
    } else if code.encoding() == EncodingKind::VEX {
        &mut pools.vex
    } else if uses_vectors(code) || any(&[C::FXSR, C::XSAVE, C::SSE]) {
        &mut pools.vector
    } else {
        &mut pools.integer
    }
}

fn kinds(code: Code) -> impl Iterator<Item = Kind> {
    let info = code.op_code();
    (0..info.op_count()).map(move |n| info.op_kind(n))
}

fn uses_mmx(code: Code) -> bool {
    kinds(code).any(|kind| matches!(kind, Kind::mm_reg | Kind::mm_rm | Kind::mm_or_mem))
}

fn uses_vectors(code: Code) -> bool {
    kinds(code).any(|kind| matches!(kind, Kind::xmm_reg | Kind::xmm_rm | Kind::xmm_or_mem))
}

fn is_usable(code: Code) -> bool {
    let info = code.op_code();
    let features = code.cpuid_features();
    info.is_instruction()
        && matches!(code.encoding(), EncodingKind::Legacy | EncodingKind::VEX)
        && !features.is_empty()
        && features.iter().all(|feature| REPEATABLE.contains(feature))
        && !code.is_privileged()
        && !EXCLUDED.contains(&code.mnemonic())
        && code.flow_control() == FlowControl::Next
}
