//! How a unit goes on elsewhere: along the page, round a loop, or by the table of jumps.

use super::assembler::{Jump, condition};
use super::cold::Cold;
use super::emitter::Emitter;
use super::flags::Flags;
use super::native;
use super::recipe::Recipe;
use super::registers::{GUEST_RSP, Number, R13, RAX};
use super::unit::Kind;
use crate::mmu::set;

/// A loop's second and later rounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rounds {
    /// They begin with flags that this computes, or with flags in memory.
    pub(super) recipe: Option<Recipe>,
    pub(super) at: Option<u64>,
}

impl Emitter<'_> {
    /// A conditional jump of the guest's whose condition is in EFLAGS.
    pub(super) fn branch(&mut self, condition: u8, target: i64, at: u16, site: u64) {
        let from = self.asm.jump_if(condition);
        self.cold.push(Cold::Taken {
            from,
            target,
            at,
            flags: self.flags,
            recipe: self.recipe,
            site,
        });
    }

    /// A jump of the guest's that is taken when it is reached.
    pub(super) fn taken(&mut self, target: i64, at: u16, site: u64) {
        let from = self.asm.jump();
        self.cold.push(Cold::Taken {
            from,
            target,
            at,
            flags: self.flags,
            recipe: self.recipe,
            site,
        });
    }

    /// Goes on at `target`, in bytes from the unit's start; `at` is where the guest's instruction
    /// ends, in the same. `site` is run instead where the target's page is not known to be mapped;
    /// without one it is the plain successor.
    pub(super) fn go(&mut self, target: i64, at: u16, site: Option<u64>) {
        if target == 0 && self.next_round() {
            return;
        }
        self.flags_to_memory();
        let offset = i64::from(self.frame.unit) + target;
        match u16::try_from(offset) {
            Ok(offset) if offset < 0x1000 => {
                if target < i64::from(at) {
                    self.poll(offset);
                }
                if target == 0 && self.has_rounds() {
                    self.asm.jump_to(self.again);
                } else {
                    let from = self.asm.jump();
                    self.cold.push(Cold::Link {
                        from,
                        target: offset,
                        kind: Kind::Usual,
                    });
                }
            }
            _ => {
                self.load_rip(RAX, offset);
                self.look_up(site, 0);
            }
        }
    }

    /// What is before this in the unit was loading; a loop need not do it again.
    pub(super) fn begin_rounds(&mut self, even: bool) {
        self.has_even_rounds = even && self.has_rounds();
        if self.frame.crosses.is_none() {
            self.again = self.asm.here();
        }
    }

    /// Do jumps to the unit's start stay in it? From a plain one the next round is the usual unit's.
    fn has_rounds(&self) -> bool {
        !self.frame.checked && self.frame.kind == Kind::Usual
    }

    /// Goes back to the unit's start, without flags if they can be computed there.
    pub(super) fn next_round(&mut self) -> bool {
        let recipe = self.recipe;
        if !self.has_rounds() || self.frame.crosses.is_some() {
            return false;
        }
        if recipe.is_none() && !self.has_even_rounds {
            return false;
        }
        let rounds = *self.rounds.get_or_insert(Rounds { recipe, at: None });
        if rounds.recipe != recipe {
            return false;
        }
        match recipe {
            Some(_) => self.flags = Flags::Lost,
            None => self.flags_to_memory(),
        }
        // Where streams are looked up the bell is asked, too.
        if !self.has_even_rounds {
            self.poll(self.frame.unit);
        }
        match rounds.at {
            Some(at) => self.asm.jump_to(at),
            None => {
                let from = self.asm.jump();
                self.cold.push(Cold::Round { from });
            }
        }
        true
    }

    /// `from` goes to the loop's next round. Answers whether that is to be written here.
    pub(super) fn land_round(&mut self, from: Jump) -> bool {
        let Some(rounds) = &mut self.rounds else {
            return false;
        };
        if let Some(at) = rounds.at {
            self.asm.land_at(from, at);
            return false;
        }
        rounds.at = Some(self.asm.here());
        let recipe = rounds.recipe;
        self.set_lost(recipe);
        self.x87.page = false;
        self.asm.land(from);
        true
    }

    /// Asks the bell; with news, leaves with RIP at page offset `target`. Uses RAX.
    pub(super) fn poll(&mut self, target: u16) {
        debug_assert!(matches!(self.flags, Flags::Memory | Flags::Lost));
        let lost = self.recipe.filter(|_| self.flags == Flags::Lost);
        self.asm.load(RAX, native::BELL);
        self.asm.test_word_at_rax();
        let from = self.asm.jump_if(condition::NOT_EQUAL);
        self.cold.push(Cold::Leave { from, target, lost });
    }

    /// Goes on at the linear address in RAX after moving the stack pointer by `release`: in its code
    /// if that is known, otherwise by leaving. If the address may not be canonical, `site` says whose
    /// handler raises the exception then. Flags must be in memory.
    pub(super) fn look_up(&mut self, site: Option<u64>, release: i64) {
        debug_assert!(self.flags == Flags::Memory);
        let set = self.frame.mode.set();
        self.asm
            .hash_rax((set == set::USER).then_some(native::SALT));
        self.asm.mask_r13(super::jumps_raw::OFFSET_MASK);
        self.asm.compare_slot(native::jump_tag(set));
        let miss = self.asm.jump_if(condition::NOT_EQUAL);
        self.move_rsp(release);
        self.asm.jump_slot(native::jump_code(set));
        // 32-bit addresses are all canonical, and inside a flat segment.
        let sure = self.frame.mode.code32 && release == 0;
        match site.filter(|_| !sure) {
            Some(site) => self.cold.push(Cold::Unknown {
                from: miss,
                site,
                release,
            }),
            None => self.asm.land_at(miss, self.frame.stubs.further[set]),
        }
    }

    /// Linear address of a page offset, possibly beyond the page.
    pub(super) fn load_rip(&mut self, to: Number, offset: i64) {
        debug_assert!(to == RAX || to == R13);
        let size = self.frame.mode.word();
        self.asm.load(to, native::PAGE_BASE);
        // The farthest branch from a page's end goes beyond 32 bits.
        let near = offset.clamp(i32::MIN.into(), i32::MAX.into());
        self.asm.move_by(to, size, near);
        self.asm.move_by(to, size, offset - near);
    }

    /// `lea` of the stack pointer, which keeps EFLAGS.
    pub(super) fn move_rsp(&mut self, by: i64) {
        let size = self.frame.mode.word();
        self.asm.move_by(GUEST_RSP, size, by);
    }
}
