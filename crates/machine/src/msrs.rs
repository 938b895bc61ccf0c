//! MSRs that no engine needs to know: memory types, machine checks, microcode and the like.
//!
//! A guest reads and writes them, and they change nothing. Unknown ones fault, as on silicon.
//! Spec: Intel SDM Vol. 4, "Architectural MSRs"; Vol. 3, "Memory Type Range Registers (MTRRs)" and
//! "Error-Reporting Register Banks"; AMD APM Vol. 2, "MSR Cross-Reference"; AMD's Processor Programming
//! References, "MSRs", for those that no CPUID bit tells of.

use std::collections::BTreeMap;

use memory::Gpa;
use x86::cpuid::{CpuChoice, CpuidTable, Vendor, feature};
use x86::msr;

use crate::layout::LOW_RAM_LIMIT;

const PLATFORM_ID: u32 = 0x17;
const SMI_COUNT: u32 = 0x34;
const PLATFORM_INFO: u32 = 0xce;
const MISC_FEATURES: u32 = 0x140;
const MCG_CTL: u32 = 0x17b;
const MTRR_PHYS_LAST: u32 = 0x20f;
const MTRR_FIX_16K: [u32; 2] = [0x258, 0x259];
const MTRR_FIX_4K: std::ops::RangeInclusive<u32> = 0x268..=0x26f;
const MC0_CTL: u32 = 0x400;
/// Of as many banks as [`msr::MACHINE_CHECKS`] tells.
const MC_LAST: u32 = 0x427;
/// Spec: AMD APM Vol. 2, "Performance Monitoring Counters": PerfEvtSel0-3, then PerfCtr0-3.
const AMD_EVENT_SELECT_0: u32 = 0xc001_0000;
const AMD_COUNTER_3: u32 = 0xc001_0007;
/// What systems read or write on every processor of AMD's, for the work that firmware left to them:
/// SYSCFG, the patch loader, NB_CFG, the interrupt-pending message, the PCI configuration window,
/// TSEG's base and mask, DC_CFG and BU_CFG2.
const AMD_UNASKED: [u32; 9] = [
    0xc001_0010,
    0xc001_0020,
    0xc001_001f,
    0xc001_0055,
    0xc001_0058,
    0xc001_0112,
    0xc001_0113,
    0xc001_1022,
    0xc001_102a,
];
const AMD_HWCR: u32 = 0xc001_0015;

/// Eight variable ranges, fixed ranges, write-combining.
const MTRR_CAPABILITIES: u64 = 8 | 1 << 8 | 1 << 10;
const WRITE_BACK: u64 = 6;
const UNCACHED: u64 = 0;
const MTRR_ENABLED: u64 = 1 << 11 | 1 << 10;
const MTRR_VALID: u64 = 1 << 11;
const FOUR_GIB: u64 = 1 << 32;
/// Fast strings; no PEBS, no branch trace.
const MISC_ENABLE_DEFAULT: u64 = 1 | 1 << 11 | 1 << 12;
/// The microcode revision, in the high half.
const MICROCODE: u64 = 1 << 32;
const FEATURE_CONTROL_LOCKED: u64 = 1;
/// Bits of AMD's HWCR: machine-check status may be written; the TSC counts at the P0 frequency, which
/// a constant TSC does, and Linux calls firmware without it broken.
const STATUS_WRITABLE: u64 = 1 << 18;
const TSC_AT_P0: u64 = 1 << 24;

/// Bits of IA32_SPEC_CTRL.
const IBRS: u64 = 1 << 0;
const STIBP: u64 = 1 << 1;
const BHI_DIS_S: u64 = 1 << 10;

/// The access faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault;

/// What decides which MSRs there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MsrFacts {
    pub(crate) vendor: Vendor,
    pub(crate) physical_bits: u8,
    /// `IA32_ARCH_CAPABILITIES`, if CPUID tells of it.
    pub(crate) arch_capabilities: Option<u64>,
    /// Bits that `IA32_SPEC_CTRL` has; 0 where neither it nor `IA32_PRED_CMD` exists.
    pub(crate) speculation: u64,
}

impl MsrFacts {
    pub(crate) fn new(table: &CpuidTable, choice: &CpuChoice, physical_bits: u8) -> MsrFacts {
        let arch_capabilities = table
            .has(feature::ARCH_CAPABILITIES)
            .then_some(choice.model.arch_capabilities);
        let mut speculation = 0;
        if table.has(feature::SPEC_CTRL) {
            // STIBP may be written wherever there is IBRS.
            speculation |= IBRS | STIBP;
        }
        if table.has(feature::BHI_CTRL) {
            speculation |= BHI_DIS_S;
        }
        MsrFacts {
            vendor: choice.vendor,
            physical_bits,
            arch_capabilities,
            speculation,
        }
    }
}

/// One vCPU's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MachineMsrs {
    values: BTreeMap<u32, u64>,
    vendor: Vendor,
    speculation: u64,
}

/// What a write may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Kept, if no other bits than these are set.
    Kept(u64),
    ReadOnly,
    /// A bank's enable bits: all, none, or all but the two that old systems leave out.
    BankControl,
    /// A bank's status, which can only be cleared; on AMD's, written where HWCR says so.
    BankStatus,
    /// Accepted, reads zero.
    Nothing,
    /// A command: accepted, reads fault.
    Command,
    Unknown,
}

impl MachineMsrs {
    /// What firmware leaves: all memory write-back, the hole below 4 GiB uncached.
    pub(crate) fn at_reset(facts: MsrFacts) -> MachineMsrs {
        let write_back_fixed = u64::from_le_bytes([WRITE_BACK as u8; 8]);
        let mut values = BTreeMap::from([
            (msr::MTRR_CAP, MTRR_CAPABILITIES),
            (msr::MTRR_DEF_TYPE, WRITE_BACK | MTRR_ENABLED),
            (msr::MTRR_FIX_64K, write_back_fixed),
            (msr::MTRR_PHYS_BASE0, LOW_RAM_LIMIT.0 | UNCACHED),
            (
                msr::MTRR_PHYS_BASE0 + 1,
                hole_mask(LOW_RAM_LIMIT, facts.physical_bits) | MTRR_VALID,
            ),
            (msr::MCG_CAP, msr::MACHINE_CHECKS),
            (msr::MISC_ENABLE, MISC_ENABLE_DEFAULT),
            (msr::BIOS_SIGN_ID, MICROCODE),
            (msr::FEATURE_CONTROL, FEATURE_CONTROL_LOCKED),
            (MCG_CTL, u64::MAX),
        ]);
        // 0xa0000-0xbffff, the VGA window, is uncached; all else of the first MiB is RAM.
        values.insert(MTRR_FIX_16K[0], write_back_fixed);
        values.insert(MTRR_FIX_16K[1], UNCACHED);
        values.extend(MTRR_FIX_4K.map(|index| (index, write_back_fixed)));
        if facts.vendor == Vendor::Amd {
            values.insert(AMD_HWCR, TSC_AT_P0);
        }
        if let Some(capabilities) = facts.arch_capabilities {
            values.insert(msr::ARCH_CAPABILITIES, capabilities);
        }
        MachineMsrs {
            values,
            vendor: facts.vendor,
            speculation: facts.speculation,
        }
    }

    fn rule(&self, index: u32) -> Rule {
        const MEMORY_TYPES: u64 = 0x0707_0707_0707_0707;
        match index {
            msr::MTRR_CAP
            | msr::MCG_CAP
            | msr::ARCH_CAPABILITIES
            | PLATFORM_ID
            | PLATFORM_INFO
            | SMI_COUNT
            | msr::FEATURE_CONTROL => Rule::ReadOnly,
            msr::PRED_CMD if self.speculation != 0 => Rule::Command,
            msr::MTRR_PHYS_BASE0..=MTRR_PHYS_LAST => Rule::Kept(u64::MAX),
            msr::MTRR_FIX_64K | 0x258 | 0x259 | 0x268..=0x26f => Rule::Kept(MEMORY_TYPES),
            msr::MTRR_DEF_TYPE => Rule::Kept(0xcff),
            msr::SPEC_CTRL if self.speculation != 0 => Rule::Kept(self.speculation),
            msr::MISC_ENABLE | msr::MCG_STATUS | MCG_CTL | msr::BIOS_SIGN_ID => {
                Rule::Kept(u64::MAX)
            }
            MISC_FEATURES => Rule::Kept(0),
            msr::DEBUG_CTL => Rule::Kept(0b11),
            MC0_CTL..=MC_LAST => match index % 4 {
                0 => Rule::BankControl,
                1 => Rule::BankStatus,
                _ => Rule::Kept(u64::MAX),
            },
            // No CPUID bit tells of AMD's first four counters, so nobody asks before using them.
            AMD_EVENT_SELECT_0..=AMD_COUNTER_3 if self.vendor == Vendor::Amd => Rule::Nothing,
            AMD_HWCR if self.vendor == Vendor::Amd => Rule::Kept(STATUS_WRITABLE | TSC_AT_P0),
            _ if self.vendor == Vendor::Amd && AMD_UNASKED.contains(&index) => Rule::Nothing,
            _ => Rule::Unknown,
        }
    }

    pub(crate) fn read(&self, index: u32) -> Result<u64, Fault> {
        match self.rule(index) {
            Rule::Unknown | Rule::Command => Err(Fault),
            Rule::ReadOnly if index == msr::ARCH_CAPABILITIES => {
                self.values.get(&index).copied().ok_or(Fault)
            }
            _ => Ok(self.values.get(&index).copied().unwrap_or(0)),
        }
    }

    pub(crate) fn write(&mut self, index: u32, value: u64) -> Result<(), Fault> {
        let allowed = match self.rule(index) {
            Rule::Kept(bits) => value & !bits == 0,
            Rule::BankControl => value == 0 || value | 1 << 10 | 1 == u64::MAX,
            Rule::BankStatus => value == 0 || self.status_writable(),
            Rule::Command | Rule::Nothing => return Ok(()),
            Rule::ReadOnly | Rule::Unknown => false,
        };
        if !allowed {
            return Err(Fault);
        }
        // A processor answers with its microcode revision whatever was written.
        if index != msr::BIOS_SIGN_ID {
            self.values.insert(index, value);
        }
        Ok(())
    }

    fn status_writable(&self) -> bool {
        let hwcr = self.values.get(&AMD_HWCR);
        hwcr.is_some_and(|value| value & STATUS_WRITABLE != 0)
    }

    /// All values, for a saved state.
    pub(crate) fn values(&self) -> &BTreeMap<u32, u64> {
        &self.values
    }

    /// Takes what is ours out of a saved state: of what we know, what nobody else has.
    pub(crate) fn take_from(
        &mut self,
        saved: &mut BTreeMap<u32, u64>,
        left_to_us: impl Fn(u32) -> bool,
    ) {
        saved.retain(|&index, value| {
            let rule = self.rule(index);
            let known = !matches!(rule, Rule::Nothing | Rule::Command | Rule::Unknown);
            let ours = known && left_to_us(index);
            if ours {
                self.values.insert(index, *value);
            }
            !ours
        });
    }
}

/// The mask of a variable range from `base` to 4 GiB.
fn hole_mask(base: Gpa, physical_bits: u8) -> u64 {
    let all = (1u64 << physical_bits.clamp(32, 52)) - 1;
    all & !(FOUR_GIB - base.0 - 1)
}

#[cfg(test)]
mod tests;
