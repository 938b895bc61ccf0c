//! Where processors of other makers than Intel do something else than ours, which does as Intel's do:
//! no comparison can be made there.
//!
//! Spec: AMD64 Architecture Programmer's Manual. Vol. 1, "Near Branches in 64-Bit Mode": an operand-size prefix
//! cuts the target to 16 bits. Vol. 2, "FPU Exception State": last-instruction pointers are kept while an
//! exception is pending. What a fault in a memory operand leaves behind (of MMX, x87 and gathers, of calls) and the
//! alignment of SHA's operands are not specified alike; nor which flags a repeated comparison leaves when it faults.

use std::arch::x86_64::__cpuid;

use iced_x86::{CpuidFeature, Decoder, DecoderOptions, FlowControl, Mnemonic, OpKind};

use crate::case::Case;

/// Is this a processor of Intel's?
pub(crate) fn is_intel() -> bool {
    let leaf = __cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx] == [0x756e_6547, 0x4965_6e69, 0x6c65_746e]
}

/// May the instruction of the case do something else on another maker's processor?
pub(crate) fn differ(case: &Case) -> bool {
    let mut decoder = Decoder::with_ip(
        case.width.bits(),
        &case.bytes,
        case.registers.rip,
        DecoderOptions::NONE,
    );
    let insn = decoder.decode();
    let prefixed = case.bytes.iter().take(4).any(|byte| *byte == 0x66);
    let near = matches!(
        insn.flow_control(),
        FlowControl::UnconditionalBranch
            | FlowControl::ConditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Return
    );
    let call = matches!(
        insn.flow_control(),
        FlowControl::Call | FlowControl::IndirectCall
    );
    let memory = (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory);
    let features = insn.cpuid_features();
    let has = |feature| features.contains(&feature);
    let x87_or_mmx = has(CpuidFeature::FPU)
        || has(CpuidFeature::FPU387)
        || (0..insn.op_count()).any(|n| insn.op_register(n).is_mm());
    let faulting = x87_or_mmx || has(CpuidFeature::SHA) || insn.is_vsib();
    let state = matches!(
        insn.mnemonic(),
        Mnemonic::Fxsave
            | Mnemonic::Fxsave64
            | Mnemonic::Fxrstor
            | Mnemonic::Fxrstor64
            | Mnemonic::Xsave
            | Mnemonic::Xsave64
            | Mnemonic::Xsaveopt
            | Mnemonic::Xsaveopt64
            | Mnemonic::Xsavec
            | Mnemonic::Xsavec64
            | Mnemonic::Vcvtps2ph
    );
    // The base of MOVSXD with 16-bit operands: 16 bits are read, or 32.
    let narrow = insn.mnemonic() == Mnemonic::Movsxd && insn.op0_register().size() == 2;
    let repeated =
        insn.is_string_instruction() && (insn.has_rep_prefix() || insn.has_repne_prefix());
    state || narrow || call || near && prefixed || repeated || memory && faulting
}
