//! The state of one translation in the making: bytes, where the status flags are, what is to be
//! written out of line.

use iced_x86::{Code, Register};

use super::assembler::{Assembler, Jump, condition};
use super::control::Then;
use super::crossings;
use super::group::Group;
use super::mode::Mode;
use super::native;
use super::recipe::Recipe;
use super::registers::{GUEST_RSP, Number, R12, R13, RAX, sized};
use super::runtime_raw::Stubs;
use super::unit::{Link, Referred, Site};
use super::x87;
use crate::interp::op::Op;
use crate::mmu::{Entry, SET_ENTRIES};

/// A jump that is taken when an access cannot be done in place.
#[derive(Debug)]
pub(super) struct Miss {
    jump: Jump,
    /// Where the first-level TLB has no such entry the second may: what to look for, and where the
    /// code goes on then.
    second: Option<(Way, u32, u64)>,
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

/// Where the guest's status flags are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flags {
    /// In the vCPU.
    Memory,
    /// In the host's EFLAGS only.
    Host,
    Both,
    /// Nowhere: to be computed again.
    Lost,
}

/// The instruction cannot be translated this way; its handler will run it.
#[derive(Debug)]
pub(super) struct Refused;

impl From<iced_x86::IcedError> for Refused {
    fn from(_: iced_x86::IcedError) -> Refused {
        Refused
    }
}

/// What is written after the unit's straight code.
#[derive(Debug)]
enum Cold {
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
    Leave { from: Jump, target: u16 },
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

/// How memory is accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Read,
    /// Written, or read and written.
    Write,
}

/// Everything about the unit that does not change while it is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) stubs: &'a Stubs,
    pub(super) mode: Mode,
    pub(super) bmi2: bool,
    /// The unit is run alone and repeated: see `crate::lockstep`.
    pub(super) checked: bool,
    /// Page offset of the unit's first byte.
    pub(super) unit: u16,
    /// Guest-physical page.
    pub(super) page: u64,
    /// The unit is one instruction that crosses into the next page.
    pub(super) crosses: bool,
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
}

#[derive(Debug)]
pub(super) struct Emitter<'a> {
    pub(super) asm: &'a mut Assembler,
    pub(super) frame: Frame<'a>,
    pub(super) flags: Flags,
    /// What computes them, as long as it can.
    recipe: Option<Recipe>,
    /// It, where the last check began without flags.
    lost: Option<Recipe>,
    /// What the instruction that is being translated does.
    pub(super) doing: Doing,
    /// The instruction that is being translated.
    pub(super) code: Code,
    pub(super) x87: x87::Progress,
    /// Where the unit's code begins for jumps inside the page.
    pub(super) inner: u64,
    referred: &'a mut Referred,
    /// The instruction's access is this far from what R12 points at.
    pub(super) member: Option<u32>,
    cold: Vec<Cold>,
    /// Jumps that the next access takes instead of being made: its segment is not an open one.
    closed: Vec<Miss>,
}

/// What to go back to when an instruction is refused half-way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    len: usize,
    flags: Flags,
    recipe: Option<Recipe>,
    cold: usize,
}

impl<'a> Emitter<'a> {
    /// Begins with the way in for everybody outside the page: RAX is the unit's linear address.
    pub(super) fn new(
        asm: &'a mut Assembler,
        referred: &'a mut Referred,
        frame: Frame<'a>,
    ) -> Emitter<'a> {
        let mut emitter = Emitter {
            asm,
            frame,
            flags: Flags::Memory,
            recipe: None,
            lost: None,
            doing: Doing::default(),
            code: Code::INVALID,
            x87: x87::Progress::default(),
            inner: 0,
            referred,
            member: None,
            cold: Vec::new(),
            closed: Vec::new(),
        };
        emitter.asm.mask_rax(-0x1000);
        emitter.asm.store(native::PAGE_BASE, RAX);
        if frame.crosses {
            // What the other page holds may have changed by a write from this one.
            emitter.inner = emitter.asm.here();
            emitter.poll(frame.unit);
            emitter.ask_crossing();
        } else {
            emitter.poll(frame.unit);
            emitter.inner = emitter.asm.here();
        }
        emitter
    }

    /// Leaves unless the next page is known to be what this unit was made from. Uses RAX.
    fn ask_crossing(&mut self) {
        let slot = crossings::slot(self.frame.page, self.frame.mode);
        self.asm.load(RAX, native::PAGE_BASE);
        self.asm.compare_from(RAX, native::crossing(slot));
        let from = self.asm.jump_if(condition::NOT_EQUAL);
        self.cold.push(Cold::Leave {
            from,
            target: self.frame.unit,
        });
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            len: self.asm.len(),
            flags: self.flags,
            recipe: self.recipe,
            cold: self.cold.len(),
        }
    }

    pub(super) fn go_back(&mut self, mark: Mark) {
        self.asm.truncate(mark.len);
        self.flags = mark.flags;
        self.recipe = mark.recipe;
        self.cold.truncate(mark.cold);
        self.closed.clear();
    }

    /// A site of an instruction that has a translation.
    pub(super) fn site(&mut self, op: &Op, ends: bool) -> u64 {
        self.any_site(op, ends, true)
    }

    /// Address of a new site of `op` for translated code.
    fn any_site(&mut self, op: &Op, ends: bool, stands_in: bool) -> u64 {
        self.referred.sites.add(Site {
            op: *op,
            unit: self.frame.unit,
            after: self.frame.unit + op.start + u16::from(op.len),
            mode: self.frame.mode,
            ends,
            x87: self.x87.loaded,
            code: self.code,
            stands_in,
        })
    }

    /// Makes sure that the vCPU has the status flags; EFLAGS may be changed afterwards.
    pub(super) fn flags_to_memory(&mut self) {
        if self.flags == Flags::Lost {
            self.compute_flags();
        }
        if self.flags == Flags::Host {
            self.asm.save_flags(native::STATUS);
        }
        self.flags = Flags::Memory;
    }

    /// Does what the flags come from again. Uses RAX.
    fn compute_flags(&mut self) {
        let written = self.recipe.map(|recipe| recipe.write(self.asm));
        // Flags that are lost can be computed.
        assert!(matches!(written, Some(Ok(()))), "{:?}", self.recipe);
        self.flags = Flags::Host;
    }

    /// Before an address check, which needs EFLAGS. Uses RAX.
    pub(super) fn free_flags(&mut self) {
        let doing = self.doing;
        let stays = |recipe: Recipe| recipe.registers() & doing.writes == 0;
        match (self.flags, self.recipe) {
            (Flags::Host, Some(recipe)) if doing.replaces_flags || stays(recipe) => {
                self.flags = Flags::Lost;
            }
            (Flags::Lost, _) => {}
            _ => self.flags_to_memory(),
        }
        self.lost = self.recipe.filter(|_| self.flags == Flags::Lost);
    }

    /// Before an instruction: it may change what the flags are computed from.
    pub(super) fn begin(&mut self, doing: Doing) {
        self.doing = doing;
        self.lost = None;
        let spoils = |recipe: Recipe| recipe.registers() & doing.writes != 0;
        if doing.replaces_flags || !self.recipe.is_some_and(spoils) {
            return;
        }
        if self.flags == Flags::Lost {
            if doing.wants_flags {
                self.compute_flags();
            } else {
                self.flags_to_memory();
            }
        }
        self.recipe = None;
    }

    /// After an instruction that left the flags in EFLAGS.
    pub(super) fn flags_written(&mut self, recipe: Option<Recipe>) {
        self.flags = Flags::Host;
        self.recipe = recipe;
    }

    /// What computed the flags does so no more.
    pub(super) fn forget_recipe(&mut self) {
        debug_assert!(self.flags != Flags::Lost);
        self.recipe = None;
    }

    /// Makes sure that EFLAGS has them. Uses RAX.
    pub(super) fn flags_to_host(&mut self) {
        match (self.flags, self.recipe) {
            (Flags::Lost, _) => self.compute_flags(),
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

    /// The instruction runs in its handler. What follows begins with the flags in memory.
    pub(super) fn handler(&mut self, op: &Op, ends: bool) {
        self.flags_to_memory();
        self.forget_recipe();
        let site = self.any_site(op, ends, false);
        // It may change the last-instruction pointers.
        self.x87.page = false;
        self.asm.set_rax(site);
        self.asm.call(self.frame.stubs.handler);
    }

    /// From the linear address in RAX to the host's, for an access of `size` bytes at a multiple of
    /// `align`. The flags must not be in EFLAGS alone. Answers the jumps to be taken when the TLB has no such access.
    pub(super) fn translate(&mut self, way: Way, size: u32, align: u32) -> Vec<Miss> {
        debug_assert!(matches!(self.flags, Flags::Memory | Flags::Lost));
        let set = self.frame.mode.set();
        let mut slow = std::mem::take(&mut self.closed);
        if align > 1 {
            self.asm.test_al(align as u8 - 1);
            slow.push(self.asm.jump_if(condition::NOT_EQUAL).into());
        }
        let entry_shift = size_of::<Entry>().trailing_zeros();
        self.asm
            .shift_into_r13(12 - entry_shift as u8, self.frame.bmi2);
        self.asm.mask_r13(((SET_ENTRIES - 1) << entry_shift) as u32);
        self.asm.sub_slot(match way {
            Way::Read => native::tlb_read(set),
            Way::Write => native::tlb_write(set),
        });
        self.asm.compare_rax(0x1000 - size);
        let jump = self.asm.jump_if(condition::ABOVE);
        self.asm.add_slot(native::tlb_host(set));
        slow.push(Miss {
            jump,
            second: Some((way, size, self.asm.here())),
        });
        slow
    }

    /// Adds the base of FS or GS to the offset in RAX, where the segment may be accessed as a whole.
    pub(super) fn add_base(&mut self, segment: u8) {
        let base = native::segment_base(segment);
        if !self.frame.mode.code32 {
            return self.asm.add_from(RAX, base);
        }
        self.asm.test_bits(native::OPEN_SEGMENTS, 1 << segment);
        let closed = self.asm.jump_if(condition::EQUAL);
        self.closed.push(closed.into());
        self.asm.add_low_from(base);
    }

    /// Linear address `disp` bytes from a register's offset into RAX.
    pub(super) fn near(&mut self, from: Number, disp: i64) -> Result<(), Refused> {
        match (disp, self.frame.mode.code32) {
            (0, false) => self.asm.copy(RAX, from),
            (0, true) => self.asm.copy_low(RAX, from),
            _ => {
                let to = self.address_register(RAX);
                self.asm.lea(to, Some(from), None, disp)?;
            }
        }
        Ok(())
    }

    /// As much of a register as an address has bits.
    pub(super) fn address_register(&self, number: Number) -> Register {
        sized(number, self.frame.mode.word() as usize)
    }

    /// Every miss that the second-level TLB cannot help either goes on here.
    fn land_misses(&mut self, misses: Vec<Miss>) {
        let set = self.frame.mode.set();
        let mut lost = Vec::with_capacity(misses.len());
        for miss in misses {
            let Some((way, size, resume)) = miss.second else {
                lost.push(miss.jump);
                continue;
            };
            self.asm.land(miss.jump);
            // The linear address again.
            self.asm.add_slot(match way {
                Way::Read => native::tlb_read(set),
                Way::Write => native::tlb_write(set),
            });
            self.asm.set_r13(size);
            self.asm.call(self.frame.stubs.refill(way, set));
            let found = self.asm.jump_if(condition::NOT_EQUAL);
            self.asm.land_at(found, resume);
            lost.push(self.asm.jump());
        }
        for jump in lost {
            self.asm.land(jump);
        }
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

    /// Makes the flags be where they are on another way to the same place.
    fn flags_as(&mut self, wanted: Flags) {
        match wanted {
            Flags::Memory => self.flags_to_memory(),
            Flags::Host => self.flags_to_host(),
            // The registers are the same on both ways.
            Flags::Lost => {}
            Flags::Both => {
                if self.flags == Flags::Lost {
                    self.compute_flags();
                }
                if self.flags == Flags::Host {
                    self.asm.save_flags(native::STATUS);
                } else {
                    self.flags_to_host();
                }
                self.flags = Flags::Both;
            }
        }
    }

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

    /// Asks the bell; with news, leaves with RIP at page offset `target`. Uses RAX.
    fn poll(&mut self, target: u16) {
        debug_assert!(self.flags == Flags::Memory);
        self.asm.load(RAX, native::BELL);
        self.asm.test_word_at_rax();
        let from = self.asm.jump_if(condition::NOT_EQUAL);
        self.cold.push(Cold::Leave { from, target });
    }

    /// Goes on at `target`, in bytes from the unit's start; `at` is where the guest's instruction
    /// ends, in the same. `site` is run instead where the target's page is not known to be mapped;
    /// without one it is the plain successor.
    pub(super) fn go(&mut self, target: i64, at: u16, site: Option<u64>) {
        self.flags_to_memory();
        let offset = i64::from(self.frame.unit) + target;
        match u16::try_from(offset) {
            Ok(offset) if offset < 0x1000 => {
                if target < i64::from(at) {
                    self.poll(offset);
                }
                if target == 0 && !self.frame.checked {
                    self.asm.jump_to(self.inner);
                } else {
                    let from = self.asm.jump();
                    self.cold.push(Cold::Link {
                        from,
                        target: offset,
                    });
                }
            }
            _ => {
                self.load_rip(RAX, offset);
                self.look_up(site, 0);
            }
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

    /// Goes on at the linear address in RAX after moving the stack pointer by `release`: in its code
    /// if that is known, otherwise by leaving. If the address may not be canonical, `site` says whose
    /// handler raises the exception then. Flags must be in memory.
    pub(super) fn look_up(&mut self, site: Option<u64>, release: i64) {
        debug_assert!(self.flags == Flags::Memory);
        let set = self.frame.mode.set();
        self.asm.hash_rax();
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
            None => self.asm.land_at(miss, self.frame.stubs.leave_at),
        }
    }

    /// `lea` of the stack pointer, which keeps EFLAGS.
    pub(super) fn move_rsp(&mut self, by: i64) {
        let size = self.frame.mode.word();
        self.asm.move_by(GUEST_RSP, size, by);
    }

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

    /// Writes everything that is out of line.
    /// `apart` writes the instructions of a group one by one.
    pub(super) fn finish(&mut self, mut apart: impl FnMut(&mut Self, usize, usize) -> Then) {
        // Writing one may ask for more.
        while !self.cold.is_empty() {
            for cold in std::mem::take(&mut self.cold) {
                self.write_cold(cold, &mut apart);
            }
        }
    }

    fn write_cold(&mut self, cold: Cold, apart: &mut impl FnMut(&mut Self, usize, usize) -> Then) {
        match cold {
            Cold::Apart {
                from,
                first,
                last,
                resume,
                lost,
                flags,
            } => {
                self.land_misses(from);
                self.flags = lost.map_or(Flags::Memory, |_| Flags::Lost);
                self.recipe = lost;
                self.x87.page = false;
                if apart(self, first, last) == Then::GoOn {
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
                self.land_misses(from);
                if lost.is_some() {
                    self.recipe = lost;
                    self.flags = Flags::Lost;
                    self.flags_to_memory();
                }
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
            Cold::Leave { from, target } => {
                self.asm.land(from);
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

    /// A register of the guest's that stays in memory, into `scratch`.
    pub(super) fn load_guest(&mut self, scratch: Number, guest: Number) {
        self.asm.load(scratch, native::gpr(guest));
    }

    /// Its full-width host register, loaded into `scratch` if it has none.
    pub(super) fn guest_in(&mut self, register: Register, scratch: Number) -> Number {
        let guest = super::registers::number(register);
        match super::registers::host_of(guest) {
            Some(host) => host,
            None => {
                self.load_guest(scratch, guest);
                scratch
            }
        }
    }
}
