//! MSR numbers. Spec: Intel SDM Vol. 4; Linux Documentation/virt/kvm/x86/msr.rst for the 4b564dxx ones.

pub const TSC: u32 = 0x10;
pub const APIC_BASE: u32 = 0x1b;
/// The global enable bit of [`APIC_BASE`].
pub const APIC_ENABLE: u64 = 1 << 11;
pub const FEATURE_CONTROL: u32 = 0x3a;
pub const TSC_ADJUST: u32 = 0x3b;
pub const SPEC_CTRL: u32 = 0x48;
pub const PRED_CMD: u32 = 0x49;
pub const BIOS_SIGN_ID: u32 = 0x8b;
pub const MTRR_CAP: u32 = 0xfe;
pub const ARCH_CAPABILITIES: u32 = 0x10a;
pub const SYSENTER_CS: u32 = 0x174;
pub const SYSENTER_ESP: u32 = 0x175;
pub const SYSENTER_EIP: u32 = 0x176;
pub const MCG_CAP: u32 = 0x179;
/// What MCG_CAP says under every engine: ten banks, and MCG_CTL.
pub const MACHINE_CHECKS: u64 = 10 | 1 << 8;
pub const MCG_STATUS: u32 = 0x17a;
pub const MISC_ENABLE: u32 = 0x1a0;
pub const DEBUG_CTL: u32 = 0x1d9;
pub const MTRR_PHYS_BASE0: u32 = 0x200;
pub const MTRR_FIX_64K: u32 = 0x250;
pub const PAT: u32 = 0x277;
pub const MTRR_DEF_TYPE: u32 = 0x2ff;
pub const PKRS: u32 = 0x6e1;
pub const TSC_DEADLINE: u32 = 0x6e0;
pub const X2APIC_FIRST: u32 = 0x800;
pub const X2APIC_LAST: u32 = 0x8ff;
pub const XSS: u32 = 0xda0;
pub const KVM_WALL_CLOCK_OLD: u32 = 0x11;
pub const KVM_SYSTEM_TIME_OLD: u32 = 0x12;
pub const KVM_WALL_CLOCK: u32 = 0x4b56_4d00;
pub const KVM_SYSTEM_TIME: u32 = 0x4b56_4d01;
pub const EFER: u32 = 0xc000_0080;
pub const STAR: u32 = 0xc000_0081;
pub const LSTAR: u32 = 0xc000_0082;
pub const CSTAR: u32 = 0xc000_0083;
pub const FMASK: u32 = 0xc000_0084;
pub const FS_BASE: u32 = 0xc000_0100;
pub const GS_BASE: u32 = 0xc000_0101;
pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
pub const TSC_AUX: u32 = 0xc000_0103;
