//! What the decoder's tables do not say about an instruction. Spec: Intel SDM Vol. 1, "SIMD
//! Floating-Point Exceptions"; Vol. 2, "Exception Conditions of SSE Instructions" and "Exception
//! Class Types".

use iced_x86::{EncodingKind, Instruction, MandatoryPrefix, Mnemonic, OpCodeTableKind};

/// Is this an x87 instruction (escape opcodes D8h to DFh)?
pub(crate) fn is_x87(insn: &Instruction) -> bool {
    let code = insn.op_code();
    let first = match code.op_code_len() {
        1 => code.op_code(),
        _ => code.op_code() >> 8,
    };
    insn.encoding() == EncodingKind::Legacy
        && code.table() == OpCodeTableKind::Normal
        && matches!(code.mandatory_prefix(), MandatoryPrefix::None)
        && (0xd8..=0xdf).contains(&first)
}

/// Does the instruction round, or raise SIMD floating-point exceptions?
pub(crate) fn uses_mxcsr(mnemonic: Mnemonic) -> bool {
    is_fused(mnemonic) || is_arithmetic(mnemonic) || is_conversion(mnemonic)
}

/// The 96 fused multiply-adds, by name: a list of them would say less.
fn is_fused(mnemonic: Mnemonic) -> bool {
    let name = format!("{mnemonic:?}");
    ["Vfmadd", "Vfmsub", "Vfnmadd", "Vfnmsub"]
        .iter()
        .any(|stem| name.starts_with(stem))
}

fn is_arithmetic(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Addps
            | M::Addpd
            | M::Addss
            | M::Addsd
            | M::Vaddps
            | M::Vaddpd
            | M::Vaddss
            | M::Vaddsd
            | M::Subps
            | M::Subpd
            | M::Subss
            | M::Subsd
            | M::Vsubps
            | M::Vsubpd
            | M::Vsubss
            | M::Vsubsd
            | M::Mulps
            | M::Mulpd
            | M::Mulss
            | M::Mulsd
            | M::Vmulps
            | M::Vmulpd
            | M::Vmulss
            | M::Vmulsd
            | M::Divps
            | M::Divpd
            | M::Divss
            | M::Divsd
            | M::Vdivps
            | M::Vdivpd
            | M::Vdivss
            | M::Vdivsd
            | M::Minps
            | M::Minpd
            | M::Minss
            | M::Minsd
            | M::Vminps
            | M::Vminpd
            | M::Vminss
            | M::Vminsd
            | M::Maxps
            | M::Maxpd
            | M::Maxss
            | M::Maxsd
            | M::Vmaxps
            | M::Vmaxpd
            | M::Vmaxss
            | M::Vmaxsd
            | M::Cmpps
            | M::Cmppd
            | M::Cmpss
            | M::Cmpsd
            | M::Vcmpps
            | M::Vcmppd
            | M::Vcmpss
            | M::Vcmpsd
            | M::Sqrtps
            | M::Sqrtpd
            | M::Sqrtss
            | M::Sqrtsd
            | M::Vsqrtps
            | M::Vsqrtpd
            | M::Vsqrtss
            | M::Vsqrtsd
            | M::Comiss
            | M::Comisd
            | M::Ucomiss
            | M::Ucomisd
            | M::Vcomiss
            | M::Vcomisd
            | M::Vucomiss
            | M::Vucomisd
            | M::Addsubps
            | M::Addsubpd
            | M::Vaddsubps
            | M::Vaddsubpd
            | M::Haddps
            | M::Haddpd
            | M::Vhaddps
            | M::Vhaddpd
            | M::Hsubps
            | M::Hsubpd
            | M::Vhsubps
            | M::Vhsubpd
            | M::Dpps
            | M::Dppd
            | M::Vdpps
            | M::Vdppd
            | M::Roundps
            | M::Roundpd
            | M::Roundss
            | M::Roundsd
            | M::Vroundps
            | M::Vroundpd
            | M::Vroundss
            | M::Vroundsd
    )
}

fn is_conversion(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Cvtpi2ps
            | M::Cvtpi2pd
            | M::Cvtps2pi
            | M::Cvtpd2pi
            | M::Cvttps2pi
            | M::Cvttpd2pi
            | M::Cvtsi2ss
            | M::Cvtsi2sd
            | M::Vcvtsi2ss
            | M::Vcvtsi2sd
            | M::Cvtss2si
            | M::Cvtsd2si
            | M::Vcvtss2si
            | M::Vcvtsd2si
            | M::Cvttss2si
            | M::Cvttsd2si
            | M::Vcvttss2si
            | M::Vcvttsd2si
            | M::Cvtdq2ps
            | M::Cvtdq2pd
            | M::Vcvtdq2ps
            | M::Vcvtdq2pd
            | M::Cvtps2dq
            | M::Cvtpd2dq
            | M::Vcvtps2dq
            | M::Vcvtpd2dq
            | M::Cvttps2dq
            | M::Cvttpd2dq
            | M::Vcvttps2dq
            | M::Vcvttpd2dq
            | M::Cvtps2pd
            | M::Cvtpd2ps
            | M::Vcvtps2pd
            | M::Vcvtpd2ps
            | M::Cvtss2sd
            | M::Cvtsd2ss
            | M::Vcvtss2sd
            | M::Vcvtsd2ss
            | M::Vcvtph2ps
            | M::Vcvtps2ph
    )
}

/// Must the memory operand be aligned to its size, whatever CR0.AM says?
pub(crate) fn must_be_aligned(insn: &Instruction, size: u8) -> bool {
    use Mnemonic as M;
    if insn.encoding() == EncodingKind::VEX {
        return matches!(
            insn.mnemonic(),
            M::Vmovaps
                | M::Vmovapd
                | M::Vmovdqa
                | M::Vmovntps
                | M::Vmovntpd
                | M::Vmovntdq
                | M::Vmovntdqa
        );
    }
    size == 16
        && !matches!(
            insn.mnemonic(),
            M::Movups
                | M::Movupd
                | M::Movdqu
                | M::Lddqu
                | M::Pcmpestri
                | M::Pcmpestri64
                | M::Pcmpestrm
                | M::Pcmpestrm64
                | M::Pcmpistri
                | M::Pcmpistrm
        )
}
