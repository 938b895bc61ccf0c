//! How an instruction that talks to a device is finished in one piece.
//!
//! Problem: an instruction may need several answers from the machine (`add [mmio], eax` reads, then
//! writes; a 32-byte load is four reads), and exits are data: the engine returns for each. Choice:
//! the instruction is abandoned at each exit and run again with the answers so far, in order, until
//! it needs no more. Handlers change registers only after their last access, so running again is
//! harmless. Rejected: a state machine for each instruction.

/// Answers given to the instruction that is being run again.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    answers: Vec<u64>,
    used: usize,
}

/// More than any instruction needs (a task switch or XSAVE area in MMIO space).
const MOST: usize = 1024;

impl Replay {
    /// The next answer, if the machine has given it already.
    pub(crate) fn next(&mut self) -> Option<u64> {
        let answer = self.answers.get(self.used).copied();
        if answer.is_some() {
            self.used += 1;
        }
        answer
    }

    /// Records the machine's answer to the last exit; false when no instruction can need so many.
    pub(crate) fn push(&mut self, answer: u64) -> bool {
        if self.answers.len() == MOST {
            return false;
        }
        self.answers.push(answer);
        true
    }

    /// The instruction starts (again).
    pub(crate) fn rewind(&mut self) {
        self.used = 0;
    }

    /// The instruction, or one iteration of it, is complete or was abandoned.
    pub(crate) fn clear(&mut self) {
        self.answers.clear();
        self.used = 0;
    }

    pub(crate) fn is_active(&self) -> bool {
        !self.answers.is_empty()
    }
}
