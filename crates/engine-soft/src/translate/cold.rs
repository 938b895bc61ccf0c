//! What is written out of line, behind a unit's straight code.

use super::assembler::{Jump, condition};
use super::control::Then;
use super::emitter::{Emitter, Refused, Way};
use super::flags::Flags;
use super::group::Group;
use super::native;
use super::recipe::Recipe;
use super::registers::{R12, RAX};
use super::unit::Link;
use crate::interp::op::Op;

/// A jump that is taken when an access cannot be done in place.
#[derive(Debug)]
pub(super) struct Miss {
    pub(super) jump: Jump,
    /// Where the first-level TLB has no such entry the second may: what to look for, and where the
    /// code goes on then.
    pub(super) second: Option<(Way, u32, u64)>,
}

impl From<Jump> for Miss {
    fn from(jump: Jump) -> Miss {
        Miss { jump, second: None }
    }
}

/// A group whose range was found.
#[derive(Debug)]
pub(super) struct Opened {
    /// The jumps for where it was not.
    apart: Vec<Miss>,
    lost: Option<Recipe>,
}

/// What is to be written once more.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// The instructions of a group, from one to another.
    Apart(usize, usize),
    Unit,
}

/// What is written after the unit's straight code.
#[derive(Debug)]
pub(super) enum Cold {
    /// Runs a site's handler and goes on after its instruction.
    Slow {
        from: Vec<Miss>,
        site: u64,
        resume: u64,
        /// How to compute the flags, where they are lost.
        lost: Option<Recipe>,
        restore: bool,
    },
    /// Leaves for the unit at a page offset, until the jump is patched to go there itself.
    Link { from: Jump, target: u16 },
    /// Leaves with RIP at a page offset.
    Leave {
        from: Jump,
        target: u16,
        lost: Option<Recipe>,
    },
    /// The unit once more, for rounds of a loop that begin with lost flags.
    Round { from: Jump },
    /// A taken conditional jump. `at` is where the branch instruction ends, from the unit's start.
    Taken {
        from: Jump,
        target: i64,
        at: u16,
        flags: Flags,
        recipe: Option<Recipe>,
        site: u64,
    },
    /// The address in RAX has no known code. Leaves, or runs the site's handler where the address
    /// is not canonical.
    Unknown { from: Jump, site: u64, release: i64 },
    /// The instructions of a group, each with its own check.
    Apart {
        from: Vec<Miss>,
        first: usize,
        last: usize,
        resume: u64,
        lost: Option<Recipe>,
        flags: Flags,
    },
    /// Calls a stub that loads registers, and comes back.
    Load { from: Jump, stub: u64, resume: u64 },
}

impl Emitter<'_> {
    /// The slow way of the instruction just written: its handler, then on from here.
    pub(super) fn slow_way(&mut self, from: Vec<Miss>, op: &Op) {
        if from.is_empty() {
            return;
        }
        let site = self.site(op, false);
        let resume = self.asm.here();
        self.cold.push(Cold::Slow {
            from,
            site,
            resume,
            lost: self.lost,
            restore: matches!(self.flags, Flags::Host | Flags::Both),
        });
    }

    /// Runs the handler at `site`, which does not come back, when one of the jumps is taken.
    pub(super) fn slow_way_to(&mut self, from: Vec<Miss>, site: u64) {
        if from.is_empty() {
            return;
        }
        let resume = self.asm.here();
        self.cold.push(Cold::Slow {
            from,
            site,
            resume,
            lost: self.lost,
            restore: false,
        });
    }

    /// Opens a group: R12 will point at its first byte. Answers the jumps for where it cannot.
    pub(super) fn open(&mut self, group: &Group) -> Result<Opened, Refused> {
        self.free_flags();
        self.address(&group.address)?;
        let apart = self.translate(group.way, group.len, group.align);
        self.asm.copy(R12, RAX);
        Ok(Opened {
            apart,
            lost: self.lost,
        })
    }

    /// What is to run where a group cannot be opened: its instructions from `first` to `last`, the
    /// last of which has just been written.
    pub(super) fn apart(&mut self, opened: Opened, first: usize, last: usize) {
        let resume = self.asm.here();
        self.cold.push(Cold::Apart {
            from: opened.apart,
            first,
            last,
            resume,
            lost: opened.lost,
            flags: self.flags,
        });
    }

    /// From here on the vector registers are the guest's. At a unit's start only.
    pub(super) fn need_vectors(&mut self) {
        self.asm.test_byte(native::VECTORS_LOADED);
        self.load_when_equal(self.frame.stubs.load_vectors);
    }

    /// Calls `stub`, with the unit's page offset in RAX, when EFLAGS say equal.
    pub(super) fn load_when_equal(&mut self, stub: u64) {
        let from = self.asm.jump_if(condition::EQUAL);
        self.cold.push(Cold::Load {
            from,
            stub,
            resume: self.asm.here(),
        });
    }

    /// Writes everything that is out of line; `part` writes some of the unit once more.
    pub(super) fn finish(&mut self, mut part: impl FnMut(&mut Self, Part) -> Then) {
        // Writing one may ask for more.
        while !self.cold.is_empty() {
            for cold in std::mem::take(&mut self.cold) {
                self.write_cold(cold, &mut part);
            }
        }
    }

    pub(super) fn write_cold(
        &mut self,
        cold: Cold,
        part: &mut impl FnMut(&mut Self, Part) -> Then,
    ) {
        match cold {
            Cold::Apart {
                from,
                first,
                last,
                resume,
                lost,
                flags,
            } => {
                self.land_misses(from, false);
                self.flags = lost.map_or(Flags::Memory, |_| Flags::Lost);
                self.recipe = lost;
                self.x87.page = false;
                if part(self, Part::Apart(first, last)) == Then::GoOn {
                    self.flags_as(flags);
                    self.asm.jump_to(resume);
                }
            }
            Cold::Slow {
                from,
                site,
                resume,
                lost,
                restore,
            } => {
                self.land_misses(from, true);
                self.save_lost(lost);
                self.asm.set_rax(site);
                self.asm.call(self.frame.stubs.handler);
                if restore {
                    self.asm.restore_flags(native::STATUS);
                }
                self.asm.jump_to(resume);
            }
            Cold::Link { from, target } => {
                let link = self.referred.links.add(Link {
                    target,
                    patch: self.asm.place(from),
                    page: self.frame.page,
                });
                self.asm.land(from);
                self.asm.set_rax(link);
                self.asm.jump_to(self.frame.stubs.leave_link);
            }
            Cold::Leave { from, target, lost } => {
                self.asm.land(from);
                self.save_lost(lost);
                self.load_rip(RAX, target.into());
                self.asm.jump_to(self.frame.stubs.leave_at);
            }
            Cold::Taken {
                from,
                target,
                at,
                flags,
                recipe,
                site,
            } => {
                self.asm.land(from);
                self.flags = flags;
                self.recipe = recipe;
                self.go(target, at, Some(site));
            }
            Cold::Round { from } => {
                if self.land_round(from) {
                    part(self, Part::Unit);
                }
            }
            Cold::Unknown {
                from,
                site,
                release,
            } => {
                self.asm.land(from);
                let canonical = self.frame.mode.code32;
                let bad = (!canonical).then(|| self.asm.jump_unless_canonical());
                self.move_rsp(release);
                self.asm.jump_to(self.frame.stubs.leave_at);
                if let Some(bad) = bad {
                    self.asm.land(bad);
                    self.asm.set_rax(site);
                    self.asm.call(self.frame.stubs.handler);
                }
            }
            Cold::Load { from, stub, resume } => {
                self.asm.land(from);
                self.asm.set_rax(self.frame.unit.into());
                self.asm.call(stub);
                self.asm.jump_to(resume);
            }
        }
    }

    /// Every miss that the second-level TLB cannot help either goes on here. Where the access is
    /// `alone`, its address is used for one instruction only.
    pub(super) fn land_misses(&mut self, misses: Vec<Miss>, alone: bool) {
        let set = self.frame.mode.set();
        let mut lost = Vec::with_capacity(misses.len());
        for miss in misses {
            let Some((way, size, resume)) = miss.second else {
                lost.push(miss.jump);
                continue;
            };
            self.asm.land(miss.jump);
            // The linear address again.
            self.asm.add_slot(native::tlb_tag(way, set));
            self.asm.set_r13(size);
            let stubs = self.frame.stubs;
            self.asm.call(if alone && size <= native::LONGEST_SPLIT {
                stubs.refill_alone(way, set)
            } else {
                stubs.refill(way, set)
            });
            let found = self.asm.jump_if(condition::NOT_EQUAL);
            self.asm.land_at(found, resume);
            lost.push(self.asm.jump());
        }
        for jump in lost {
            self.asm.land(jump);
        }
    }
}
