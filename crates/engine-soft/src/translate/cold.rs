//! What is written out of line, behind a unit's straight code.

use iced_x86::Instruction;

use super::assembler::{Jump, Section, condition};
use super::emitter::{Emitter, Refused, Way};
use super::flags::Flags;
use super::group::Group;
use super::native;
use super::reached::Address;
use super::recipe::Recipe;
use super::registers::{Number, R13, RAX, host_of, wide};
use super::unit::{Kind, Link};
use crate::interp::op::Op;

/// A jump that is taken when an access cannot be done in place.
#[derive(Debug)]
pub(super) struct Miss {
    pub(super) jump: Jump,
    /// Where the first-level TLB has no such entry the second may.
    pub(super) second: Option<Second>,
}

/// What to look for in the TLB's second level.
#[derive(Debug, Clone, Copy)]
pub(super) struct Second {
    pub(super) way: Way,
    pub(super) size: u32,
    /// Where the code goes on then.
    pub(super) resume: u64,
    /// What it has then: the host's address in RAX, or in a register what must be added to the guest's address.
    pub(super) distance: Option<(Number, Address)>,
}

impl From<Jump> for Miss {
    fn from(jump: Jump) -> Miss {
        Miss { jump, second: None }
    }
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
    Link { from: Jump, target: u16, kind: Kind },
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
    /// A group cannot be opened: goes on in the plain unit at the instruction with its first access.
    Closed {
        from: Vec<Miss>,
        target: u16,
        lost: Option<Recipe>,
    },
    /// A loop's stream was not found in the first level of the TLB.
    NoStream {
        from: Vec<Miss>,
        address: Instruction,
        lost: Option<Recipe>,
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

    /// Opens a group: its pointer is that of its first byte. Where it cannot, the plain unit at `target` runs.
    pub(super) fn open(&mut self, group: &Group, target: u16) -> Result<(), Refused> {
        self.free_flags();
        self.address(&group.address)?;
        let access = (group.way, group.len, group.align);
        let from = if let Some(base) = group.base {
            let disp = group.address.memory_displacement64() as i64;
            let address = Address::beside(base, disp);
            self.translate_apart(access, group.place, address)
        } else {
            let from = self.translate(group.way, group.len, group.align);
            self.keep_pointer(group.place);
            from
        };
        let lost = self.lost;
        self.cold.push(Cold::Closed { from, target, lost });
        Ok(())
    }

    /// From here on the vector registers are the guest's. At a unit's start only.
    pub(super) fn need_vectors(&mut self) {
        self.vectors = true;
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

    /// Writes everything that is out of line; `again` writes the unit once more.
    pub(super) fn finish(&mut self, mut again: impl FnMut(&mut Self)) {
        // Writing one may ask for more.
        while !self.cold.is_empty() {
            for cold in std::mem::take(&mut self.cold) {
                self.write_cold(cold, &mut again);
            }
        }
    }

    fn write_cold(&mut self, cold: Cold, again: &mut impl FnMut(&mut Self)) {
        self.asm.switch(match cold {
            Cold::Taken { .. } | Cold::Round { .. } => Section::Hot,
            _ => Section::Cold,
        });
        match cold {
            Cold::Closed { from, target, lost } => {
                self.land_misses(from, false);
                self.save_lost(lost);
                let from = self.asm.jump();
                self.write_link(from, target, Kind::Plain);
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
                let stubs = self.frame.stubs;
                self.asm.call(if restore {
                    stubs.handler_with_flags
                } else {
                    stubs.handler
                });
                self.asm.jump_to(resume);
            }
            Cold::Link { from, target, kind } => self.write_link(from, target, kind),
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
                    again(self);
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
                let set = self.frame.mode.set();
                self.asm.jump_to(self.frame.stubs.further[set]);
                if let Some(bad) = bad {
                    self.asm.land(bad);
                    self.asm.set_rax(site);
                    self.asm.call(self.frame.stubs.handler);
                }
            }
            Cold::NoStream {
                from,
                address,
                lost,
            } => self.write_no_stream(from, &address, lost),
            Cold::Load { from, stub, resume } => {
                self.asm.land(from);
                self.asm.set_rax(self.frame.unit.into());
                self.asm.call(stub);
                self.asm.jump_to(resume);
            }
        }
    }

    /// Leaves at a link when the jump is taken, until it is patched.
    fn write_link(&mut self, from: Jump, target: u16, kind: Kind) {
        let link = self.referred.links.add(Link {
            kind,
            mode: self.frame.mode,
            target,
            patch: self.asm.place(from),
            page: self.frame.page,
        });
        self.asm.land(from);
        self.asm.set_rax(link);
        self.asm.jump_to(self.frame.stubs.leave_link);
    }

    /// From the host's address in RAX to its distance from the guest's. Uses both scratches.
    fn distance(&mut self, into: Number, address: Address) {
        if let Some(base) = address.base {
            match host_of(base) {
                Some(host) => self.asm.subtract(RAX, host),
                None => self.asm.subtract_from(RAX, native::gpr(base)),
            }
        }
        let written = if let Some((register, scale)) = address.follows {
            let host = host_of(register).unwrap_or(R13);
            if host == R13 {
                self.load_guest(R13, register);
            }
            let index = Some((host, scale));
            let moved = self.asm.lea(wide(R13), None, index, address.disp);
            self.asm.subtract(RAX, R13);
            self.asm.copy(into, RAX);
            moved
        } else {
            self.asm.lea(wide(into), Some(RAX), None, -address.disp)
        };
        // The address itself was computed with it.
        assert!(written.is_ok(), "{address:?}");
    }

    /// Every miss that the second-level TLB cannot help either goes on here. Where the access is
    /// `alone`, its address is used for one instruction only.
    pub(super) fn land_misses(&mut self, misses: Vec<Miss>, alone: bool) {
        let set = self.frame.mode.set();
        let (seconds, mut lost): (Vec<Miss>, Vec<Miss>) =
            misses.into_iter().partition(|miss| miss.second.is_some());
        let count = seconds.len();
        for (n, miss) in seconds.into_iter().enumerate() {
            let Some(second) = miss.second else {
                continue;
            };
            let Second { way, size, .. } = second;
            self.asm.land(miss.jump);
            let stubs = self.frame.stubs;
            // Where addresses have 32 bits, no page follows the last.
            let alone = alone && !self.frame.mode.code32;
            if let Some(stub) = stubs.miss(way, set, size, alone) {
                self.asm.call(stub);
            } else {
                // The linear address again.
                self.asm.add_slot(native::tlb_tag(way, set));
                self.asm.set_r13(size);
                self.asm.call(stubs.refill(way, set));
            }
            if let Some((into, address)) = second.distance {
                lost.push(self.asm.jump_if(condition::EQUAL).into());
                self.distance(into, address);
                self.asm.jump_to(second.resume);
                continue;
            }
            let found = self.asm.jump_if(condition::NOT_EQUAL);
            self.asm.land_at(found, second.resume);
            if n + 1 < count {
                lost.push(self.asm.jump().into());
            }
        }
        for miss in lost {
            self.asm.land(miss.jump);
        }
    }
}
