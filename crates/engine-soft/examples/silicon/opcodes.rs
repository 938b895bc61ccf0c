//! Which instructions are compared.

use iced_x86::{
    Code, CodeSize, CpuidFeature, EncodingKind, FlowControl, Instruction, Mnemonic,
    OpCodeOperandKind as Kind, OpKind, Register,
};

use engine_tests::sets::REPEATABLE;

use crate::case::Width;

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
    Mnemonic::Lds,
    Mnemonic::Les,
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

    pub(crate) fn has(self, code: Code) -> bool {
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
pub(crate) fn opcodes(group: Group, width: Width) -> Vec<Code> {
    let usable = |code: &Code| {
        let info = code.op_code();
        let features = code.cpuid_features();
        let mode = match width {
            Width::Bits16 => info.mode16(),
            Width::Bits32 => info.mode32(),
            Width::Bits64 => info.mode64(),
        };
        info.is_instruction()
            && mode
            && matches!(code.encoding(), EncodingKind::Legacy | EncodingKind::VEX)
            && !features.is_empty()
            && features.iter().all(|feature| REPEATABLE.contains(feature))
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

/// May user code run the instruction here, and compare what it did?
pub(crate) fn acceptable(insn: &Instruction) -> bool {
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
        && features.iter().all(|feature| REPEATABLE.contains(feature))
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
        // Elsewhere a 16-bit branch leaves the pages we have.
        && (!near || insn.op0_kind() != OpKind::NearBranch16 || insn.code_size() == CodeSize::Code16)
}
