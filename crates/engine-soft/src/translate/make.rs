//! Making a unit: decoding from its first byte on, one instruction after the other.

use iced_x86::{Code, DecoderError, FlowControl, Instruction};
use memory::Lines;

use super::accesses::Seen;
use super::assembler::Assembler;
use super::control::Then;
use super::emitter::{Emitter, Frame, Refused};
use super::facts::{Facts, Forms, is};
use super::flags::Doing;
use super::group::Plan;
use super::loops::Loop;
use super::reached::Reached;
use super::renamable::renamable;
use super::simple;
use super::system::ends_unit;
use super::unit::{Kind, Referred, Unit};
use crate::interp::decode::{self, Context};
use crate::interp::op::Op;

/// Instructions of a unit at most, and where none of them is a branch: rounds of what was unrolled.
const MOST: usize = 64;
const MOST_STRAIGHT: usize = 256;
/// So many bytes are looked at: few instructions have more than eight.
pub(super) const LONGEST: usize = 8 * MOST_STRAIGHT;

/// An instruction as both engines know it.
pub(super) struct Decoded {
    pub(super) insn: Instruction,
    pub(super) op: Op,
    facts: Facts,
    ends_block: bool,
    pub(super) doing: Doing,
    /// It may become itself.
    simple: bool,
}

/// What a translator uses again for each unit.
pub(super) struct Tools<'a> {
    pub(super) asm: &'a mut Assembler,
    pub(super) forms: &'a mut Forms,
    pub(super) referred: &'a mut Referred,
}

/// A unit, and what it was made of.
pub(super) struct Made {
    pub(super) unit: Unit,
    pub(super) instructions: usize,
    /// Where in the page they lie.
    pub(super) lines: Lines,
}

/// Translates the code in `bytes`, the rest of a page from the unit on; where the frame says that it
/// crosses, with bytes of the next. `None` when the first instruction is longer.
pub(super) fn unit(
    tools: Tools<'_>,
    frame: Frame<'_>,
    bytes: &[u8],
    context: Context,
) -> Option<Made> {
    let Tools {
        asm,
        forms,
        referred,
    } = tools;
    let mut decoded = decode_all(bytes, context, frame, forms);
    if decoded.is_empty() {
        return None;
    }
    find_where_flags_die(&mut decoded);
    let outer = asm.here();
    let mut emitter = Emitter::new(asm, referred, frame);
    let any = |answers| decoded.iter().any(|d| d.simple && d.facts.any(answers));
    if any(is::VECTOR) {
        emitter.need_vectors();
    }
    if any(is::X87) {
        emitter.need_x87(!context.available.data_pointer_on_exception_only());
    }
    let insns = decoded.iter();
    let seen: Vec<Seen> = insns
        .map(|one| Seen::new(&one.insn, &one.facts, one.is_translated()))
        .collect();
    let plan = Plan::new(&seen);
    let found = first_back(&decoded).and_then(|last| Loop::of(&seen, last, context.code));
    emitter.begin_rounds(found.is_some());
    emitter.all(&decoded, &plan);
    emitter.finish(|emitter| emitter.rounds(&decoded, &plan, found.as_ref()));
    let inner = emitter.inner;
    Some(Made {
        unit: Unit { inner, outer },
        instructions: decoded.len(),
        lines: lines(&decoded, frame.unit),
    })
}

/// Notes after which instructions the flags are replaced before an exception, a way out of the unit or anything
/// else could show them.
fn find_where_flags_die(decoded: &mut [Decoded]) {
    let mut die = false;
    for one in decoded.iter_mut().rev() {
        one.doing.flags_die = die;
        if one.is_surely_silent() {
            // After this one as before it.
        } else {
            let shows = one
                .facts
                .any(is::HAS_MEMORY | is::NEEDS_FLAGS | is::SPECIAL);
            die = one.simple && one.doing.replaces_flags && !shows;
        }
    }
}

/// The first instruction that goes back to the unit's start.
fn first_back(decoded: &[Decoded]) -> Option<usize> {
    decoded.iter().position(|one| {
        let near = one.insn.is_jcc_short_or_near() || one.insn.is_jmp_short_or_near();
        one.ends_block && near && one.insn.near_branch_target() == 0
    })
}

fn lines(decoded: &[Decoded], unit: u16) -> Lines {
    decoded.iter().fold(Lines::NONE, |lines, one| {
        let offset = u64::from(unit) + u64::from(one.op.start);
        lines.or(Lines::of(offset, decode::depends_on(&one.insn) as u64))
    })
}

fn decode_all(bytes: &[u8], context: Context, frame: Frame<'_>, forms: &mut Forms) -> Vec<Decoded> {
    let mut decoder = decode::decoder(bytes, context.code);
    let mut all = Vec::with_capacity(16);
    let mut most = if frame.crosses.is_some() {
        1
    } else {
        MOST_STRAIGHT
    };
    while all.len() < most && decoder.can_decode() {
        let mut insn = Instruction::default();
        decoder.decode_out(&mut insn);
        if decoder.last_error() == DecoderError::NoMoreBytes {
            break;
        }
        let becomes = renamable(insn);
        let facts = forms.facts(&becomes);
        if frame.checked && facts.any(is::UNREPEATABLE) {
            break;
        }
        let lowered = decode::lower(&insn, context);
        let allowed = (!facts.any(is::SSE) || frame.mode.sse)
            && (!facts.any(is::AVX) || frame.mode.avx)
            // What allows SSE allows x87 and MMX.
            && (!facts.any(is::X87) || frame.mode.sse && frame.stubs.has_x87);
        let ends_block = lowered.ends_block && !facts.any(is::FALLS_THROUGH);
        let simple = !ends_block
            && allowed
            && facts.any(is::SIMPLE | is::SPECIAL | is::X87)
            && !context.available.lacks(facts.needs);
        // A call, a return, a jump: what follows is reached some other way. Past a conditional jump
        // the unit goes on.
        let last = ends_block && insn.flow_control() != FlowControl::ConditionalBranch
            || simple && ends_unit(&insn, frame.mode);
        if ends_block {
            most = most.min(MOST);
        }
        all.push(Decoded {
            insn: becomes,
            op: lowered.op,
            facts,
            ends_block,
            doing: simple::doing(&becomes, &facts),
            simple,
        });
        if last {
            break;
        }
    }
    // Whatever comes after STI must run before interrupts are looked for, so it must be here too.
    if let Some(last) = all.last_mut()
        && last.insn.mnemonic() == iced_x86::Mnemonic::Sti
    {
        last.ends_block = true;
        last.simple = false;
    }
    all
}

impl Decoded {
    /// Does it neither touch flags nor end in a handler, whatever happens?
    fn is_surely_silent(&self) -> bool {
        use iced_x86::Mnemonic as M;
        let facts = &self.facts;
        let moves = match self.insn.mnemonic() {
            M::Mov | M::Movzx | M::Movsx | M::Movsxd => true,
            M::Lea => self.insn.op0_register().size() > 2,
            _ => facts.any(is::VECTOR) && !facts.any(is::WRITES_FLAGS),
        };
        let plain = self.simple && moves && !facts.any(is::SPECIAL | is::X87);
        let shows = (!facts.any(is::ADDRESS) && facts.any(is::HAS_MEMORY))
            || facts.any(is::NEEDS_FLAGS | is::THROUGH_RAX);
        facts.any(is::NOTHING) || plain && !shows
    }

    /// Is it sure to be done without its handler, but for accesses that the TLB does not have?
    fn is_translated(&self) -> bool {
        let translated = self.simple || self.ends_block || self.facts.any(is::NOTHING | is::STACK);
        translated && !self.facts.any(is::ENDS_GROUPS)
    }
}

pub(super) fn is_stack(insn: &Instruction) -> bool {
    matches!(
        insn.code(),
        Code::Push_r64 | Code::Pushq_imm8 | Code::Pushq_imm32 | Code::Pop_r64 | Code::Leaveq
    ) || matches!(
        insn.code(),
        Code::Push_r32 | Code::Pushd_imm8 | Code::Pushd_imm32 | Code::Pop_r32 | Code::Leaved
    )
}

impl Emitter<'_> {
    /// All instructions, those of a group with one check, and what follows them.
    pub(super) fn all(&mut self, decoded: &[Decoded], plan: &Plan) {
        let mut groups = plan.groups.iter().peekable();
        // Those that were opened, by their number.
        let mut open = Vec::with_capacity(plan.groups.len());
        let mut then = Then::GoOn;
        for (index, one) in decoded.iter().enumerate() {
            self.begin(one.doing);
            let plain = index == 0 && self.frame.kind == Kind::Plain;
            while let Some(group) = groups.next_if(|group| group.begin == index) {
                let mark = self.mark();
                let opened = !plain && self.open(group, self.frame.unit + one.op.start).is_ok();
                if !opened {
                    self.go_back(mark);
                }
                open.push(opened);
            }
            let member = plan.members[index].filter(|(number, _)| open[*number]);
            self.reached = member.map(|(number, disp)| Reached {
                place: plan.groups[number].place,
                follows: None,
                disp,
            });
            then = self.one(one);
            self.reached = None;
        }
        if then == Then::GoOn
            && let Some(last) = decoded.last()
        {
            let at = last.op.start + u16::from(last.op.len);
            self.go(at.into(), at, None);
        }
    }

    fn one(&mut self, one: &Decoded) -> Then {
        self.code = one.insn.code();
        self.begin(one.doing);
        let mark = self.mark();
        let mut done = self.try_one(one);
        if done.is_err() && self.reached.take().is_some() {
            // With a check there may be one more register.
            self.go_back(mark);
            done = self.try_one(one);
        }
        done.unwrap_or_else(|Refused| {
            self.go_back(mark);
            self.handler(&one.op, one.ends_block);
            if one.ends_block {
                Then::Ended
            } else {
                Then::GoOn
            }
        })
    }

    pub(super) fn try_one(&mut self, one: &Decoded) -> Result<Then, Refused> {
        let (insn, facts) = (&one.insn, &one.facts);
        if one.ends_block {
            return self.control(insn, &one.op);
        }
        if one.simple && facts.any(is::SPECIAL) {
            return self.special(insn, &one.op);
        }
        if one.simple && facts.any(is::OWN_X87) {
            self.own_x87(insn, &one.op)?;
        } else if one.simple {
            self.simple(insn, &one.op, facts)?;
        } else if facts.any(is::NOTHING) {
            // No code at all.
        } else {
            self.stack(insn, &one.op)?;
        }
        Ok(Then::GoOn)
    }
}

/// Does an instruction that ends the interpreter's blocks, since it may change the mode or what
/// interrupts may do, usually go on with the next one?
pub(super) fn falls_through(insn: &Instruction) -> bool {
    use iced_x86::Mnemonic as M;
    matches!(
        insn.mnemonic(),
        M::Cli | M::Sti | M::Stac | M::Clac | M::Swapgs | M::Popfq | M::Wrmsr | M::Rdmsr | M::Mov
    ) || matches!(insn.mnemonic(), M::Popfd | M::Pop | M::Lss)
}

/// Does the instruction do the same when it runs again from the same state?
pub(super) fn is_repeatable(insn: &Instruction) -> bool {
    use iced_x86::Mnemonic as M;
    !matches!(
        insn.mnemonic(),
        M::Rdtsc | M::Rdtscp | M::Rdpmc | M::Rdrand | M::Rdseed | M::Rdmsr | M::Wrmsr
    )
}

/// NOPs, hints and prefetches, but not PAUSE, which gives way now and then.
pub(super) fn is_nothing(insn: &Instruction) -> bool {
    use iced_x86::Mnemonic as M;
    matches!(
        insn.mnemonic(),
        M::Nop
            | M::Endbr64
            | M::Endbr32
            | M::Prefetcht0
            | M::Prefetcht1
            | M::Prefetcht2
            | M::Prefetchnta
            | M::Prefetchw
    )
}
