//! The register page of a local APIC: 64 registers of 32 bits, and the 256-bit vector sets in it.
//!
//! Spec: Intel SDM Vol. 3, "The Local APIC Block Diagram", table "Local APIC Register Address Map".

/// Register numbers: the offset in the page divided by 16, and the x2APIC MSR less 800h.
pub(super) const ID: usize = 0x02;
pub(super) const VERSION: usize = 0x03;
pub(super) const TPR: usize = 0x08;
pub(super) const PPR: usize = 0x0a;
pub(super) const EOI: usize = 0x0b;
pub(super) const LDR: usize = 0x0d;
pub(super) const DFR: usize = 0x0e;
pub(super) const SVR: usize = 0x0f;
pub(super) const ISR: usize = 0x10;
pub(super) const TMR: usize = 0x18;
pub(super) const IRR: usize = 0x20;
pub(super) const ESR: usize = 0x28;
/// Reserved in every mode: a saved page carries in it what has no register (see `Lapic::state`).
pub(super) const HIDDEN: usize = 0x29;
pub(super) const ICR: usize = 0x30;
pub(super) const ICR_HIGH: usize = 0x31;
pub(super) const LVT_TIMER: usize = 0x32;
pub(super) const LVT_THERMAL: usize = 0x33;
pub(super) const LVT_PERF: usize = 0x34;
pub(super) const LVT_LINT0: usize = 0x35;
pub(super) const LVT_LINT1: usize = 0x36;
pub(super) const LVT_ERROR: usize = 0x37;
pub(super) const INITIAL_COUNT: usize = 0x38;
pub(super) const CURRENT_COUNT: usize = 0x39;
pub(super) const DIVIDE: usize = 0x3e;
pub(super) const SELF_IPI: usize = 0x3f;

pub(super) const COUNT: usize = 64;

pub(super) const LVT_MASKED: u32 = 1 << 16;
pub(super) const LVT_REMOTE_IRR: u32 = 1 << 14;
pub(super) const LVT_LEVEL: u32 = 1 << 15;

pub(super) const SVR_ENABLED: u32 = 1 << 8;
pub(super) const SVR_SUPPRESS_EOI_BROADCAST: u32 = 1 << 12;

/// Bits a guest may write in a local vector table entry; 0 for registers that are none.
pub(super) fn lvt_writable(register: usize) -> u32 {
    match register {
        LVT_TIMER => 0x7_00ff,
        LVT_THERMAL | LVT_PERF => 0x1_07ff,
        LVT_LINT0 | LVT_LINT1 => 0x1_a7ff,
        LVT_ERROR => 0x1_00ff,
        _ => 0,
    }
}

/// The page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registers([u32; COUNT]);

impl Registers {
    pub(super) fn new() -> Registers {
        Registers([0; COUNT])
    }

    pub(super) fn from_slice(values: &[u32]) -> Option<Registers> {
        values.try_into().ok().map(Registers)
    }

    pub(super) fn to_vec(&self) -> Vec<u32> {
        self.0.to_vec()
    }

    /// Registers that do not exist read zero.
    pub(super) fn get(&self, register: usize) -> u32 {
        self.0.get(register).copied().unwrap_or(0)
    }

    pub(super) fn set(&mut self, register: usize, value: u32) {
        if let Some(slot) = self.0.get_mut(register) {
            *slot = value;
        }
    }

    /// Is `vector` in the set that begins at register `set`?
    pub(super) fn has(&self, set: usize, vector: u8) -> bool {
        self.get(set + usize::from(vector >> 5)) & 1 << (vector & 31) != 0
    }

    pub(super) fn put(&mut self, set: usize, vector: u8, member: bool) {
        let register = set + usize::from(vector >> 5);
        let bit = 1 << (vector & 31);
        let old = self.get(register);
        self.set(register, if member { old | bit } else { old & !bit });
    }

    /// The highest vector of a set.
    pub(super) fn highest(&self, set: usize) -> Option<u8> {
        (0..8u8).rev().find_map(|word| {
            let bits = self.get(set + usize::from(word));
            let top = u8::try_from(bits.checked_ilog2()?).ok()?;
            Some(word << 5 | top)
        })
    }
}
