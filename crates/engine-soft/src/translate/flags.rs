//! Where the guest's status flags are while a unit is made.
//!
//! They stay in EFLAGS until something needs EFLAGS; then they are saved, or let go where they can be
//! computed again ([`Recipe`]).

use super::emitter::{Emitter, Refused};
use super::native;
use super::recipe::Recipe;

/// Where the guest's status flags are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flags {
    /// In the vCPU.
    Memory,
    /// In the host's EFLAGS only.
    Host,
    Both,
    /// In EFLAGS but for the carry, which is in the vCPU.
    Partial,
    /// Nowhere: to be computed again.
    Lost,
}

/// What an instruction does to registers and flags.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Doing {
    /// The guest registers that it writes, one bit each.
    pub(super) writes: u16,
    /// It writes all status flags, whatever they were.
    pub(super) replaces_flags: bool,
    /// It has to find them in EFLAGS, and has no memory operand.
    pub(super) wants_flags: bool,
    /// It is an INC or DEC that [`Emitter::step`] writes.
    pub(super) steps: bool,
    /// Once it is done nobody can see the flags before they are replaced.
    pub(super) flags_die: bool,
}

impl Emitter<'_> {
    /// Before an instruction: it may change what the flags are computed from.
    pub(super) fn begin(&mut self, doing: Doing) {
        self.doing = doing;
        self.lost = None;
        let spoils = |recipe: Recipe| recipe.registers() & doing.writes != 0;
        // What is left of the flags of before is in the vCPU.
        let only_carry = doing.steps && self.recipe.is_some_and(Recipe::takes_carry);
        let spoiled = self.recipe.is_some_and(spoils);
        if doing.replaces_flags || doing.flags_die || only_carry || !spoiled {
            return;
        }
        if matches!(self.flags, Flags::Lost | Flags::Partial) {
            if doing.wants_flags {
                self.compute_flags();
            } else {
                self.flags_to_memory();
            }
        }
        self.recipe = None;
    }

    /// Before an address check, which needs EFLAGS. Uses RAX.
    pub(super) fn free_flags(&mut self) {
        let doing = self.doing;
        let stays = |recipe: Recipe| recipe.registers() & doing.writes == 0;
        match (self.flags, self.recipe) {
            (Flags::Host | Flags::Partial, Some(recipe))
                if doing.replaces_flags || doing.flags_die || stays(recipe) =>
            {
                self.flags = Flags::Lost;
            }
            (Flags::Lost, _) => {}
            _ => self.flags_to_memory(),
        }
        self.lost = self.recipe.filter(|_| self.flags == Flags::Lost);
    }

    /// INC or DEC of a register.
    pub(super) fn step(&mut self, recipe: Recipe) -> Result<(), Refused> {
        let carry_is_saved = match self.flags {
            Flags::Memory | Flags::Both => true,
            Flags::Host | Flags::Partial | Flags::Lost => {
                self.recipe.is_some_and(Recipe::takes_carry)
            }
        };
        if !carry_is_saved {
            self.flags_to_memory();
        }
        recipe.write_step(self.asm)?;
        self.flags = Flags::Partial;
        self.recipe = Some(recipe);
        Ok(())
    }

    /// After an instruction that left the flags in EFLAGS.
    pub(super) fn flags_written(&mut self, recipe: Option<Recipe>) {
        self.flags = Flags::Host;
        self.recipe = recipe;
    }

    /// What computed the flags does so no more.
    pub(super) fn forget_recipe(&mut self) {
        debug_assert!(!matches!(self.flags, Flags::Lost | Flags::Partial));
        self.recipe = None;
    }

    /// Makes sure that the vCPU has the status flags; EFLAGS may be changed afterwards.
    pub(super) fn flags_to_memory(&mut self) {
        if matches!(self.flags, Flags::Lost | Flags::Partial) {
            self.compute_flags();
        }
        if self.flags == Flags::Host {
            self.asm.save_flags(native::STATUS);
        }
        self.flags = Flags::Memory;
    }

    /// Makes sure that EFLAGS has them. Uses RAX.
    pub(super) fn flags_to_host(&mut self) {
        match (self.flags, self.recipe) {
            (Flags::Lost | Flags::Partial, _) => self.compute_flags(),
            (Flags::Memory, Some(_)) => {
                self.compute_flags();
                self.flags = Flags::Both;
            }
            (Flags::Memory, None) => {
                self.asm.restore_flags(native::STATUS);
                self.flags = Flags::Both;
            }
            (Flags::Host | Flags::Both, _) => {}
        }
    }

    /// Does what the flags come from again. Uses RAX.
    pub(super) fn compute_flags(&mut self) {
        let written = self.recipe.map(|recipe| recipe.write(self.asm));
        // Flags that are lost can be computed.
        assert!(matches!(written, Some(Ok(()))), "{:?}", self.recipe);
        self.flags = Flags::Host;
    }

    /// The flags are what this computes, or in the vCPU.
    pub(super) fn set_lost(&mut self, recipe: Option<Recipe>) {
        self.recipe = recipe;
        self.flags = recipe.map_or(Flags::Memory, |_| Flags::Lost);
    }

    /// The flags that `recipe` computes into the vCPU.
    pub(super) fn save_lost(&mut self, recipe: Option<Recipe>) {
        if recipe.is_some() {
            self.recipe = recipe;
            self.flags = Flags::Lost;
            self.flags_to_memory();
        }
    }
}
