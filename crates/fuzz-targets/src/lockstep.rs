//! The translator against the interpreter: programs made from the input's bytes must end the same. The
//! first byte decides between 64-bit and 32-bit code. The same with vCPUs that leave their code to others.

use std::cell::RefCell;

use engine::{Engine, EngineError};
use engine_soft::SoftEngine;
use engine_tests::lockstep::{Choices, Pair, Program, Verdict};

use crate::heirs::Heirs;

/// Programs that run on the same engines one after the other.
const BATCH: u32 = 64;

/// Two engines, and how many programs they ran.
type Engines = RefCell<Option<(Pair, u32)>>;

thread_local! {
    static TRANSLATOR: Engines = const { RefCell::new(None) };
    static HEIRS: Engines = const { RefCell::new(None) };
}

fn pair(heirs: bool) -> Result<Pair, EngineError> {
    Pair::new(
        &|memory| Ok(Box::new(SoftEngine::new(memory)) as Box<dyn Engine>),
        &|memory| {
            Ok(if heirs {
                Box::new(Heirs::new(memory)) as Box<dyn Engine>
            } else {
                Box::new(SoftEngine::translator_after(memory, 1))
            })
        },
        ["the interpreter", "the translator"],
    )
}

pub(crate) fn lockstep(bytes: &[u8]) {
    TRANSLATOR.with(|engines| compare(engines, false, bytes));
}

pub(crate) fn inherited_code(bytes: &[u8]) {
    HEIRS.with(|engines| compare(engines, true, bytes));
}

fn compare(engines: &Engines, heirs: bool, bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let choices = &mut Choices::of_bytes(bytes);
    let program = if first % 2 == 0 {
        Program::new(choices)
    } else {
        Program::new_32(choices)
    };
    let Some(program) = program else { return };
    let mut engines = engines.borrow_mut();
    if engines.as_ref().is_none_or(|(_, ran)| *ran == BATCH) {
        *engines = Some((pair(heirs).expect("two engines"), 0));
    }
    let Some((pair, ran)) = engines.as_mut() else {
        return;
    };
    *ran += 1;
    if let Verdict::Differs(found) = pair.run(&program).expect("no host failure") {
        panic!("{}\n{}", found.join("\n"), program.listing());
    }
}

/// Bytes enough for whole programs.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    (0..8)
        .map(|seed: u64| {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut next = || {
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
            };
            (0..512).flat_map(|_| next()).collect()
        })
        .collect()
}
