//! When a guest's memory has been sent often enough: a policy without a clock of its own.
//!
//! What the guest dirtied in a round has to be sent in the next. As long as that gets less, rounds go on; when
//! it fits into the time that the guest may stand still, it is stopped. Where it does not get less the guest is
//! slowed down, more with each round; or it begins there before all has come.

use std::time::Duration;

/// What a round was.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// Bytes of the guest's that were sent, whatever they took on the network.
    pub sent: u64,
    /// How long that took.
    pub took: Duration,
    /// Bytes that the guest wrote meanwhile.
    pub dirtied: u64,
}

/// What is to be done after a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Another round, while the guest stands still for so many hundredths of the time.
    Again { slowed: u8 },
    /// What is left can be sent while the guest stands still.
    Switch,
    /// What is left is sent when the guest runs there.
    PostCopy,
}

/// What is done about a guest of which there is not less to send from round to round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    Nothing,
    /// It stands still for a part of the time.
    SlowDown,
    /// It begins there without what is left.
    PostCopy,
}

#[derive(Debug, Clone)]
pub struct Convergence {
    /// What the guest may stand still for, to send what is left.
    pause: Duration,
    otherwise: Otherwise,
    slowed: u8,
    before: Option<u64>,
    rounds: u32,
}

/// What is always sent at once, however slow the network seems to be: no round makes it less.
const LEAST: u64 = 1 << 20;
const FIRST: u8 = 30;
const STEP: u8 = 20;
const MOST: u8 = 99;

impl Convergence {
    #[must_use]
    pub fn new(pause: Duration, otherwise: Otherwise) -> Convergence {
        Convergence {
            pause,
            otherwise,
            slowed: 0,
            before: None,
            rounds: 0,
        }
    }

    #[must_use]
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    pub fn after(&mut self, round: Round) -> Verdict {
        self.rounds += 1;
        let rate = u128::from(round.sent) * 1_000_000 / round.took.as_micros().max(1);
        let fits = rate * self.pause.as_micros() / 1_000_000;
        // A round of nearly nothing says nothing of the network.
        let told = round.sent >= LEAST;
        if round.dirtied <= LEAST || (told && u128::from(round.dirtied) <= fits) {
            return Verdict::Switch;
        }
        let less = self
            .before
            .is_none_or(|before| round.dirtied < before / 4 * 3);
        self.before = Some(round.dirtied);
        match self.otherwise {
            Otherwise::PostCopy if !less => return Verdict::PostCopy,
            Otherwise::SlowDown if !less => {
                self.slowed = match self.slowed {
                    0 => FIRST,
                    slowed => (slowed + STEP).min(MOST),
                };
            }
            _ => {}
        }
        Verdict::Again {
            slowed: self.slowed,
        }
    }
}

#[cfg(test)]
mod tests;
