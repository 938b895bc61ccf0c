//! How a run of tests went.

use std::fmt;

use crate::Trouble;

/// How one test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    /// It does not apply to this engine.
    Skipped(String),
    /// The engine reported `Exit::Failed`, or its host an error: words of its own.
    GaveUp(String),
    /// The engine did something else than the contract says.
    Wrong(String),
}

impl From<Result<(), Trouble>> for Verdict {
    fn from(result: Result<(), Trouble>) -> Verdict {
        match result {
            Ok(()) => Verdict::Passed,
            Err(Trouble::NotApplicable(why)) => Verdict::Skipped(why),
            Err(Trouble::GaveUp(what)) => Verdict::GaveUp(what),
            Err(Trouble::Wrong(what)) => Verdict::Wrong(what),
        }
    }
}

/// All verdicts, by test.
#[derive(Debug, Default, Clone)]
pub struct Report {
    pub verdicts: Vec<(String, Verdict)>,
}

impl Report {
    /// Names of the tests that neither passed nor were skipped. An engine whose host is known to be
    /// unable forgives `GaveUp`.
    #[must_use]
    pub fn failures(&self, forgive_giving_up: bool) -> Vec<&str> {
        self.verdicts
            .iter()
            .filter(|(_, verdict)| match verdict {
                Verdict::Passed | Verdict::Skipped(_) => false,
                Verdict::GaveUp(_) => !forgive_giving_up,
                Verdict::Wrong(_) => true,
            })
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, verdict) in &self.verdicts {
            match verdict {
                Verdict::Passed => writeln!(f, "ok       {name}")?,
                Verdict::Skipped(why) => writeln!(f, "skipped  {name}: {why}")?,
                Verdict::GaveUp(what) => writeln!(f, "gave up  {name}: {what}")?,
                Verdict::Wrong(what) => writeln!(f, "WRONG    {name}: {what}")?,
            }
        }
        Ok(())
    }
}
