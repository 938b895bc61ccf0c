//! How often translated code called the interpreter's handlers, by instruction: where time goes that
//! a translation could save.

use std::collections::BTreeMap;

use engine::HandlerCalls;
use iced_x86::{Code, Mnemonic};

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

    /// By mnemonic, the most called first.
    pub(crate) fn by_mnemonic(&self) -> Vec<HandlerCalls> {
        let mut called: BTreeMap<Mnemonic, [u64; 2]> = BTreeMap::new();
        let codes = Code::values().zip(&self.counts);
        for (code, counts) in codes.filter(|(_, counts)| **counts != [0; 2]) {
            let sums = called.entry(code.mnemonic()).or_default();
            sums[0] += counts[0];
            sums[1] += counts[1];
        }
        let mut all: Vec<HandlerCalls> = called
            .into_iter()
            .map(|(mnemonic, [untranslated, stood_in])| HandlerCalls {
                mnemonic: format!("{mnemonic:?}").to_lowercase(),
                untranslated,
                stood_in,
            })
            .collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.untranslated + one.stood_in));
        all
    }
}
