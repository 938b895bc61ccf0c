//! MSRs that the software engine keeps itself; every other one is the machine's.

use std::collections::BTreeMap;

use x86::msr;

/// MSRs with a meaning to instructions, as fields. EFER and segment bases live in `Cpu`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Msrs {
    pub(crate) star: u64,
    pub(crate) lstar: u64,
    pub(crate) cstar: u64,
    pub(crate) fmask: u64,
    pub(crate) kernel_gs_base: u64,
    pub(crate) sysenter_cs: u64,
    pub(crate) sysenter_esp: u64,
    pub(crate) sysenter_eip: u64,
    pub(crate) tsc_aux: u64,
    pub(crate) tsc_adjust: u64,
    pub(crate) pat: u64,
    pub(crate) pkrs: u64,
    pub(crate) xss: u64,
    /// Guest TSC minus host TSC.
    pub(crate) tsc_offset: u64,
    /// What a restored state held that has no meaning to this engine: kept, and given back.
    pub(crate) others: BTreeMap<u32, u64>,
}

impl Msrs {
    pub(crate) fn at_reset() -> Msrs {
        Msrs {
            pat: 0x0007_0406_0007_0406,
            ..Msrs::default()
        }
    }

    /// The field of a plain read-write MSR.
    pub(crate) fn field(&mut self, index: u32) -> Option<&mut u64> {
        Some(match index {
            msr::STAR => &mut self.star,
            msr::LSTAR => &mut self.lstar,
            msr::CSTAR => &mut self.cstar,
            msr::FMASK => &mut self.fmask,
            msr::KERNEL_GS_BASE => &mut self.kernel_gs_base,
            msr::SYSENTER_CS => &mut self.sysenter_cs,
            msr::SYSENTER_ESP => &mut self.sysenter_esp,
            msr::SYSENTER_EIP => &mut self.sysenter_eip,
            msr::TSC_AUX => &mut self.tsc_aux,
            msr::TSC_ADJUST => &mut self.tsc_adjust,
            msr::PAT => &mut self.pat,
            msr::PKRS => &mut self.pkrs,
            msr::XSS => &mut self.xss,
            _ => return None,
        })
    }

    /// The MSRs of [`Msrs::field`], for saving.
    pub(crate) const KEPT: [u32; 13] = [
        msr::STAR,
        msr::LSTAR,
        msr::CSTAR,
        msr::FMASK,
        msr::KERNEL_GS_BASE,
        msr::SYSENTER_CS,
        msr::SYSENTER_ESP,
        msr::SYSENTER_EIP,
        msr::TSC_AUX,
        msr::TSC_ADJUST,
        msr::PAT,
        msr::PKRS,
        msr::XSS,
    ];
}
