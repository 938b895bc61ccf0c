//! Runs cases by number in a software engine and on the silicon.

use std::ops::Range;

use iced_x86::Code;

use crate::case::{Case, Width};
use crate::guest::Guest;
use crate::native_raw::Native;
use crate::random::Random;
use crate::{compare, generate};

/// The two that run cases. There can be only one in a process: the pages have fixed addresses.
pub(crate) struct Pair {
    native: Native,
    guest: Guest,
}

impl Pair {
    pub(crate) fn new(translated: bool) -> Result<Pair, String> {
        let native = Native::new().map_err(|error| format!("cannot map pages: {error}"))?;
        let guest = Guest::new(translated);
        Ok(Pair { native, guest })
    }

    /// The same pages, with another guest.
    #[cfg_attr(
        not(test),
        allow(dead_code, reason = "only the test compares both engines")
    )]
    pub(crate) fn with_guest(self, translated: bool) -> Pair {
        let native = self.native;
        let guest = Guest::new(translated);
        Pair { native, guest }
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
