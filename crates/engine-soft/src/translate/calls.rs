//! How often translated code called the interpreter's handlers, by instruction: where time goes that
//! a translation could save.

use iced_x86::{Code, Mnemonic};
use std::collections::BTreeMap;

use super::unit::Site;

/// Counts by instruction form: calls of those without a translation, and of those whose translation
/// could not do it this time (a TLB miss, a device, a page crossed, an unknown target).
#[derive(Debug)]
pub(crate) struct Calls {
    counts: Box<[[u64; 2]]>,
}

impl Default for Calls {
    fn default() -> Calls {
        Calls {
            counts: vec![[0; 2]; Code::values().len()].into_boxed_slice(),
        }
    }
}

impl Calls {
    #[inline]
    pub(super) fn count(&mut self, site: &Site) {
        if let Some(counts) = self.counts.get_mut(site.code as usize) {
            counts[usize::from(site.stands_in)] += 1;
        }
    }

    /// The most frequent instructions of each kind with their counts.
    pub(crate) fn most(&self, most: usize) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        for (kind, name) in ["handled", "stood in for"].into_iter().enumerate() {
            let mut by_mnemonic: BTreeMap<Mnemonic, u64> = BTreeMap::new();
            for (code, counts) in Code::values().zip(&self.counts) {
                *by_mnemonic.entry(code.mnemonic()).or_default() += counts[kind];
            }
            let total: u64 = by_mnemonic.values().sum();
            all.push((format!("instructions {name}"), total));
            let mut named: Vec<_> = by_mnemonic.into_iter().filter(|one| one.1 != 0).collect();
            named.sort_by_key(|one| std::cmp::Reverse(one.1));
            let shown = named.into_iter().take(most);
            all.extend(shown.map(|(m, count)| (format!("  {m:?}").to_lowercase(), count)));
        }
        all
    }
}
