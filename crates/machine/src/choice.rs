//! Which engine runs a guest, and why, in a sentence for the person who asked.

use std::sync::Arc;

use engine::Engine;
use engine_kvm::KvmEngine;
use engine_soft::SoftEngine;
use memory::GuestMemory;

use crate::config::EngineChoice;
use crate::{MachineError, measured};

/// An engine and why it was chosen.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) reason: String,
}

/// What an engine has to know of its machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    /// As in [`crate::MachineConfig`].
    pub(crate) times: bool,
    /// How many there can be.
    pub(crate) vcpus: u32,
    /// Somebody listens to the PC speaker, which the timer of KVM has to itself.
    pub(crate) speaker: bool,
}

/// Makes the engine that `choice` names or, for [`EngineChoice::Auto`], that a measurement finds best.
pub(crate) fn choose(
    choice: EngineChoice,
    memory: &GuestMemory,
    needs: Needs,
) -> Result<Chosen, MachineError> {
    match choice {
        EngineChoice::Auto => automatic(memory, needs),
        EngineChoice::Kvm => kvm(memory, "it was asked for".to_owned()),
        EngineChoice::Interpreter => Ok(interpreter(memory, "it was asked for".to_owned())),
        EngineChoice::Translator => Ok(translator(memory, needs, "it was asked for".to_owned())),
        EngineChoice::Lockstep => Ok(Chosen {
            engine: Arc::new(SoftEngine::lockstep(memory.clone())),
            reason: "it was asked for".to_owned(),
        }),
    }
}

fn automatic(memory: &GuestMemory, needs: Needs) -> Result<Chosen, MachineError> {
    if needs.speaker {
        let reason = "the PC speaker is not heard under KVM".to_owned();
        return Ok(software(memory, needs, reason));
    }
    match measured::measurement() {
        Ok(measured) if measured.is_worth_having() => kvm(memory, measured.verdict()),
        Ok(measured) => Ok(software(memory, needs, measured.verdict())),
        Err(error) => Ok(software(memory, needs, no_kvm(&error))),
    }
}

fn kvm(memory: &GuestMemory, reason: String) -> Result<Chosen, MachineError> {
    let engine = KvmEngine::new(memory.clone()).map_err(|source| MachineError::Engine {
        engine: "kvm",
        source,
    })?;
    Ok(Chosen {
        engine: Arc::new(engine),
        reason,
    })
}

/// The better of the software engines that this host allows.
fn software(memory: &GuestMemory, needs: Needs, reason: String) -> Chosen {
    if SoftEngine::can_translate() {
        translator(memory, needs, reason)
    } else {
        interpreter(memory, format!("{reason}; and {CANNOT_TRANSLATE}"))
    }
}

/// Why there is no translator, where there is none.
pub(crate) const CANNOT_TRANSLATE: &str =
    "this host gives no executable memory, or its processor lacks SSE4.2";

fn translator(memory: &GuestMemory, needs: Needs, reason: String) -> Chosen {
    let engine = SoftEngine::translator(memory.clone()).shared_by(needs.vcpus);
    let engine = if needs.times {
        engine.watched()
    } else {
        engine
    };
    Chosen {
        engine: Arc::new(engine),
        reason,
    }
}

fn interpreter(memory: &GuestMemory, reason: String) -> Chosen {
    Chosen {
        engine: Arc::new(SoftEngine::new(memory.clone())),
        reason,
    }
}

pub(crate) fn no_kvm(error: &engine::EngineError) -> String {
    format!("there is no KVM here: {}", chain(error))
}

/// An error and what caused it, as one sentence.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        sentence = format!("{sentence}: {error}");
        cause = error.source();
    }
    sentence
}
