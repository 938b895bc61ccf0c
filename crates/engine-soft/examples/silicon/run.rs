//! Runs cases by number in a software engine and on the silicon.

use std::ops::Range;

use iced_x86::Code;

use crate::case::{Case, Width};
use crate::guest::Guest;
use crate::native_raw::Native;
use crate::random::Random;
use crate::{compare, generate, makers};

/// The two that run cases. There can be only one in a process: the pages have fixed addresses.
pub(crate) struct Pair {
    native: Native,
    guest: Guest,
    intel: bool,
}

impl Pair {
    pub(crate) fn new() -> Result<Pair, String> {
        let native = Native::new().map_err(|error| format!("cannot map pages: {error}"))?;
        let guest = Guest::new(false);
        let intel = makers::is_intel();
        Ok(Pair {
            native,
            guest,
            intel,
        })
    }

    /// From now on all of the guest's code is translated, or all of it interpreted.
    pub(crate) fn translate(&mut self, translated: bool) {
        self.guest = Guest::new(translated);
    }

    /// Tells `seen` of each case what differed; answers how many cases ran.
    pub(crate) fn run(
        &mut self,
        seed: u64,
        width: Width,
        numbers: Range<u64>,
        opcodes: &[Code],
        mut seen: impl FnMut(u64, &Case, &[String]),
    ) -> Result<u64, String> {
        let mut run = 0;
        for number in numbers {
            let mut random = Random::for_case(seed, number);
            let Some(case) = generate::case(&mut random, width, opcodes) else {
                continue;
            };
            if !self.intel && makers::differ(&case) {
                continue;
            }
            run += 1;
            let silicon = self
                .native
                .run(&case)
                .ok_or("a case ended without a signal")?;
            let found = match self.guest.run(&case) {
                Ok(ours) => compare::differences(&case, &ours, &silicon),
                Err(exit) => vec![format!("the engine left with {exit}")],
            };
            seen(number, &case, &found);
        }
        Ok(run)
    }
}
