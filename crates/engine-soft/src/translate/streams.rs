//! The rounds of a [`Loop`]: its streams are looked up, then it goes round without checks until one of them is about
//! to leave its page, or until it has gone round for so long that somebody may want something.
//!
//! A stream's pointer lies in the vCPU, the first one's in R12. It is what must be added to the register that
//! the stream follows, so that it stays as it is from round to round.

use iced_x86::Instruction;

use super::assembler::condition;
use super::cold::{Cold, Miss, Second};
use super::control::Then;
use super::emitter::{Emitter, Refused, Way};
use super::flags::{Doing, Flags};
use super::group::Plan;
use super::loops::{Loop, Member, Stream};
use super::make::Decoded;
use super::native;
use super::reached::{Place, Reached};
use super::recipe::Recipe;
use super::registers::{Number, R13, RAX, host_of};

/// Rounds at most before the bell is asked again.
const MOST_ROUNDS: u32 = 256;

impl Loop {
    /// How a member is reached. The stream with most members has its pointer in a register.
    fn reached(&self, member: Member) -> Reached {
        Reached {
            place: place(member.stream),
            follows: self.streams[member.stream].follows,
            disp: member.disp,
        }
    }
}

fn place(stream: usize) -> Place {
    match stream {
        0 => Place::Register,
        _ => Place::Slot(stream - 1),
    }
}

impl Emitter<'_> {
    /// What runs from the unit's second round on.
    pub(super) fn rounds(&mut self, decoded: &[Decoded], plan: &Plan, found: Option<&Loop>) {
        if let Some(found) = found {
            let mark = self.mark();
            if self.even_rounds(decoded, found).is_ok() {
                return;
            }
            self.reached = None;
            self.go_back(mark);
            self.poll(self.frame.unit);
        }
        if self.recipe.is_some() {
            self.all(decoded, plan);
        } else {
            self.asm.jump_to(self.again);
        }
    }

    fn even_rounds(&mut self, decoded: &[Decoded], found: &Loop) -> Result<(), Refused> {
        let recipe = self.recipe;
        let setup = self.asm.here();
        self.doing = Doing::default();
        self.poll(self.frame.unit);
        self.asm.set_word(native::ROUNDS, MOST_ROUNDS);
        for (number, stream) in found.streams.iter().enumerate() {
            self.find_stream(number, stream, recipe)?;
        }
        if let Some((register, by)) = found.counter {
            let host = self.guest_in_number(register, R13);
            self.asm.multiply_rax(native::ROUNDS, by as i32);
            self.asm.add(RAX, host);
            self.asm.store(native::LAST_ROUND, RAX);
        }
        let body = self.asm.here();
        for (one, member) in decoded[..found.last].iter().zip(&found.members) {
            self.code = one.insn.code();
            self.begin(one.doing);
            self.reached = member.map(|member| found.reached(member));
            if self.try_one(one)? == Then::Ended {
                return Err(Refused);
            }
            self.reached = None;
        }
        self.go_back_round(&decoded[found.last])?;
        match recipe {
            Some(_) if self.recipe == recipe => self.flags = Flags::Lost,
            Some(_) => return Err(Refused),
            None => self.flags_to_memory(),
        }
        let Some((register, _)) = found.counter else {
            self.poll(self.frame.unit);
            self.asm.jump_to(body);
            return Ok(());
        };
        let host = self.guest_in_number(register, RAX);
        self.asm.compare_from(host, native::LAST_ROUND);
        let on = self.asm.jump_if(condition::NOT_EQUAL);
        self.asm.land_at(on, body);
        self.asm.jump_to(setup);
        Ok(())
    }

    /// The jump back to the unit's start: what follows it is not taken here.
    fn go_back_round(&mut self, back: &Decoded) -> Result<(), Refused> {
        self.code = back.insn.code();
        self.begin(back.doing);
        if !back.insn.is_jcc_short_or_near() {
            return Ok(());
        }
        let condition = self.condition_of(&back.insn)?;
        let after = back.op.start + u16::from(back.op.len);
        let site = self.site(&back.op, true);
        // Conditions come in pairs.
        self.branch(condition ^ 1, after.into(), after, site);
        Ok(())
    }

    /// Looks a stream up, counts its rounds, and keeps its pointer. Where that cannot be, the unit's
    /// usual code runs the round.
    fn find_stream(
        &mut self,
        number: usize,
        stream: &Stream,
        lost: Option<Recipe>,
    ) -> Result<(), Refused> {
        self.address(&stream.address)?;
        let from = self.translate(stream.way, stream.len, stream.align);
        self.cold.push(Cold::NoStream {
            from,
            address: stream.address,
            lost,
        });
        if let Some((register, scale)) = stream.follows {
            self.count_rounds(stream);
            let host = self.guest_in_number(register, R13);
            self.asm.copy(R13, host);
            self.asm.shift_r13_left(scale.trailing_zeros() as u8);
            self.asm.subtract(RAX, R13);
            self.asm.move_by(RAX, 8, -stream.from);
        }
        self.keep_pointer(place(number));
        Ok(())
    }

    /// How many rounds its bytes, at RAX now, stay in their page; if those are fewer than others do, so many
    /// are run. One too few does no harm.
    fn count_rounds(&mut self, stream: &Stream) {
        const SHIFT: u32 = 24;
        // mov r13d, eax; and r13d, 0fffh
        self.asm.raw(&[0x41, 0x89, 0xc5]);
        self.asm.mask_r13(0xfff);
        if stream.stride > 0 {
            // neg r13d; add r13d, …
            self.asm.raw(&[0x41, 0xf7, 0xdd, 0x41, 0x81, 0xc5]);
            self.asm.raw(&(0x1000 - stream.len).to_le_bytes());
        }
        let stride = stream.stride.unsigned_abs() as u32;
        if stride.is_power_of_two() {
            // shr r13d, …
            self.asm
                .raw(&[0x41, 0xc1, 0xed, stride.trailing_zeros() as u8]);
        } else {
            // imul r13, r13, …; shr r13, 24
            self.asm.raw(&[0x4d, 0x69, 0xed]);
            self.asm.raw(&((1 << SHIFT) / stride).to_le_bytes());
            self.asm.raw(&[0x49, 0xc1, 0xed, SHIFT as u8]);
        }
        // inc r13d
        self.asm.raw(&[0x41, 0xff, 0xc5]);
        self.asm.compare_from(R13, native::ROUNDS);
        let enough = self.asm.jump_if(condition::NOT_BELOW);
        self.asm.store(native::ROUNDS, R13);
        self.asm.land(enough);
    }

    /// Writes what happens where a stream is not found. The second level of the TLB may know of its page;
    /// what lies beside code may not be written without asking.
    pub(super) fn write_no_stream(
        &mut self,
        from: Vec<Miss>,
        address: &Instruction,
        lost: Option<Recipe>,
    ) {
        let set = self.frame.mode.set();
        let mut nowhere = Vec::new();
        for miss in from {
            let Some(Second {
                way, size, resume, ..
            }) = miss.second
            else {
                nowhere.push(miss.jump);
                continue;
            };
            self.asm.land(miss.jump);
            self.asm.add_slot(native::tlb_tag(way, set));
            self.asm.set_r13(size);
            self.asm.call(self.frame.stubs.refill(way, set));
            nowhere.push(self.asm.jump_if(condition::EQUAL));
            if way == Way::Write {
                // Where the page was found it is in the first level now.
                self.set_lost(lost);
                let again = self.address(address);
                // It was written before.
                assert!(again.is_ok(), "{address:?}");
                let still = self.translate(way, size, 1);
                nowhere.extend(still.into_iter().map(|miss| miss.jump));
            }
            self.asm.jump_to(resume);
        }
        for jump in nowhere {
            self.asm.land(jump);
        }
        self.save_lost(lost);
        self.asm.jump_to(self.again);
    }

    /// A guest register's full-width host register, loaded into `scratch` if it has none.
    fn guest_in_number(&mut self, guest: Number, scratch: Number) -> Number {
        host_of(guest).unwrap_or_else(|| {
            self.load_guest(scratch, guest);
            scratch
        })
    }
}
