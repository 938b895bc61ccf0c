//! The state of one translation in the making, and how code reaches the guest's memory.

use iced_x86::{Code, Register};

use super::assembler::{Assembler, Jump, condition};
use super::cold::{Cold, Miss, Second};
use super::crossings;
use super::flags::{Doing, Flags};
use super::handler_raw::Distance;
use super::jumps_out::Rounds;
use super::mode::Mode;
use super::native;
use super::reached::{Address, Place, Reached};
use super::recipe::Recipe;
use super::registers::{Number, R13, RAX, host_of, sized};
use super::runtime_raw::Stubs;
use super::unit::{Kind, Referred, Site};
use super::x87;
use crate::interp::op::Op;
pub(super) use crate::mmu::Way;
use crate::mmu::{Entry, SET_ENTRIES};

/// The instruction cannot be translated this way; its handler will run it.
#[derive(Debug)]
pub(super) struct Refused;

impl From<iced_x86::IcedError> for Refused {
    fn from(_: iced_x86::IcedError) -> Refused {
        Refused
    }
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
    pub(super) kind: Kind,
    /// Guest-physical page.
    pub(super) page: u64,
    /// The stamp of a unit of one instruction that crosses into the next page.
    pub(super) crosses: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Emitter<'a> {
    pub(super) asm: &'a mut Assembler,
    pub(super) frame: Frame<'a>,
    pub(super) flags: Flags,
    /// What computes them, as long as it can.
    pub(super) recipe: Option<Recipe>,
    /// It, where the last check began without flags.
    pub(super) lost: Option<Recipe>,
    /// What the instruction that is being translated does.
    pub(super) doing: Doing,
    /// The instruction that is being translated.
    pub(super) code: Code,
    pub(super) x87: x87::Progress,
    /// The vector registers are loaded.
    pub(super) vectors: bool,
    /// Where the unit's code begins for jumps inside the page.
    pub(super) inner: u64,
    /// Where a loop in it goes on: what it loads is loaded by then.
    pub(super) again: u64,
    pub(super) rounds: Option<Rounds>,
    /// They are those of a [`super::loops::Loop`].
    pub(super) has_even_rounds: bool,
    /// How the instruction's access is reached, where its pointer is known.
    pub(super) reached: Option<Reached>,
    pub(super) referred: &'a mut Referred,
    pub(super) cold: Vec<Cold>,
    /// Jumps that the next access takes instead of being made: its segment is not an open one.
    pub(super) closed: Vec<Miss>,
}

/// What to go back to when an instruction is refused half-way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) len: usize,
    pub(super) flags: Flags,
    pub(super) recipe: Option<Recipe>,
    pub(super) cold: usize,
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
            vectors: false,
            inner: 0,
            again: 0,
            rounds: None,
            has_even_rounds: false,
            reached: None,
            referred,
            cold: Vec::new(),
            closed: Vec::new(),
        };
        emitter.asm.mask_rax(-0x1000);
        emitter.asm.store(native::PAGE_BASE, RAX);
        if let Some(stamp) = frame.crosses {
            // What the other page holds may have changed by a write from this one.
            emitter.inner = emitter.asm.here();
            emitter.poll(frame.unit);
            emitter.ask_crossing(stamp);
        } else {
            emitter.poll(frame.unit);
            emitter.inner = emitter.asm.here();
        }
        emitter.again = emitter.inner;
        emitter
    }

    /// Leaves unless the next page is known to be what this unit was made from. Uses RAX.
    fn ask_crossing(&mut self, stamp: u32) {
        let slot = crossings::slot(self.frame.page, self.frame.mode);
        self.asm.load(RAX, native::PAGE_BASE);
        self.asm.compare_from(RAX, native::crossing(slot));
        let elsewhere = self.asm.jump_if(condition::NOT_EQUAL);
        self.asm.compare_word(native::crossing(slot) + 8, stamp);
        let stale = self.asm.jump_if(condition::NOT_EQUAL);
        for from in [elsewhere, stale] {
            self.cold.push(Cold::Leave {
                from,
                target: self.frame.unit,
                lost: None,
            });
        }
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
            handler: Distance::to(op.run),
            unit: self.frame.unit,
            after: self.frame.unit + op.start + u16::from(op.len),
            mode: self.frame.mode,
            ends,
            x87: self.x87.loaded,
            vectors: self.vectors,
            code: self.code,
            stands_in,
        })
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
        let set = self.frame.mode.set();
        let (mut slow, jump) = self.check(way, size, align);
        self.asm.add_slot(native::tlb_tag(way, set));
        self.asm.add_slot(native::tlb_distance(way, set));
        let second = Second {
            way,
            size,
            resume: self.asm.here(),
            distance: None,
        };
        slow.push(Miss {
            jump,
            second: Some(second),
        });
        slow
    }

    /// As [`Emitter::translate`], but the pointer, at `place`, is the host's address less what `address`, which RAX is,
    /// has beside its base. So the access waits for a load, and not for the check.
    pub(super) fn translate_apart(
        &mut self,
        (way, size, align): (Way, u32, u32),
        place: Place,
        address: Address,
    ) -> Vec<Miss> {
        let set = self.frame.mode.set();
        let (mut slow, jump) = self.check(way, size, align);
        let into = place.register();
        self.asm
            .slot_op(0x8b, into, R13, native::tlb_distance(way, set));
        let second = Second {
            way,
            size,
            resume: self.asm.here(),
            distance: Some((into, address)),
        };
        slow.push(Miss {
            jump,
            second: Some(second),
        });
        if let Some(base) = address.base {
            match host_of(base) {
                Some(host) => self.asm.add(into, host),
                None => self.asm.add_from(into, native::gpr(base)),
            }
        }
        if let Place::Slot(number) = place {
            self.asm.store(native::pointer(number), into);
        }
        slow
    }

    /// Looks for the page of RAX in the first level: R13 is the slot. The last of the jumps is taken when it is not
    /// there, the others when the access may not be done in place at all.
    fn check(&mut self, way: Way, size: u32, align: u32) -> (Vec<Miss>, Jump) {
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
        self.asm.sub_slot(native::tlb_tag(way, set));
        self.asm.compare_rax(0x1000 - size);
        let jump = self.asm.jump_if(condition::ABOVE);
        (slow, jump)
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
