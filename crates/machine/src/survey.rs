//! What each engine can do on this host: what `inn doctor` shows, by the rule that
//! [`crate::EngineChoice::Auto`] follows.

use engine_soft::SoftEngine;

use crate::choice::{CANNOT_TRANSLATE, no_kvm};

/// One engine on this host.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineFinding {
    pub name: &'static str,
    pub usable: bool,
    /// `auto` takes it.
    pub chosen: bool,
    /// Why or why not, as a sentence.
    pub reason: String,
    /// Measured in ring 0, where it was.
    pub instructions_per_second: Option<f64>,
}

/// Measures the host. In the order in which `auto` prefers engines.
#[must_use]
pub fn survey() -> Vec<EngineFinding> {
    let kvm = kvm();
    let translates = SoftEngine::can_translate();
    let translated = !kvm.chosen && translates;
    let interpreted = !kvm.chosen && !translates;
    vec![
        kvm,
        EngineFinding {
            name: "translator",
            usable: translates,
            chosen: translated,
            reason: if translates {
                "it makes host code of guest code, and needs nothing of the host but executable memory"
            } else {
                CANNOT_TRANSLATE
            }
            .to_owned(),
            instructions_per_second: None,
        },
        EngineFinding {
            name: "interpreter",
            usable: true,
            chosen: interpreted,
            reason: "it needs nothing of the host".to_owned(),
            instructions_per_second: None,
        },
    ]
}

fn kvm() -> EngineFinding {
    match engine_kvm::measure() {
        Ok(measured) => EngineFinding {
            name: "kvm",
            usable: measured.failure.is_none(),
            chosen: measured.is_worth_having(),
            reason: measured.verdict(),
            instructions_per_second: Some(measured.instructions_per_second),
        },
        Err(error) => EngineFinding {
            name: "kvm",
            usable: false,
            chosen: false,
            reason: no_kvm(&error),
            instructions_per_second: None,
        },
    }
}
