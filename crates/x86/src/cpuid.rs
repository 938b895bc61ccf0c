//! CPUID as a table. Spec: Intel SDM Vol. 2, "CPUID".

use serde::{Deserialize, Serialize};

/// What one CPUID leaf (and sub-leaf) answers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuidEntry {
    pub leaf: u32,
    pub subleaf: u32,
    /// The leaf answers differently by ECX.
    pub indexed: bool,
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

/// All leaves of one vCPU.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuidTable {
    pub entries: Vec<CpuidEntry>,
}

impl CpuidTable {
    /// The entry for a leaf and sub-leaf; `None` where the table has none.
    #[must_use]
    pub fn find(&self, leaf: u32, subleaf: u32) -> Option<&CpuidEntry> {
        self.entries
            .iter()
            .find(|e| e.leaf == leaf && (!e.indexed || e.subleaf == subleaf))
    }
}
