//! Making a unit: decoding from its first byte on, one instruction after the other.

use iced_x86::{DecoderError, Instruction, InstructionInfoFactory};

use super::assembler::Assembler;
use super::control::Then;
use super::emitter::{Emitter, Frame, Refused};
use super::simple::{is_simple, is_vector};
use super::unit::Unit;
use crate::interp::decode::{self, Context};
use crate::interp::op::Op;

/// Instructions of a unit at most.
const MOST: usize = 64;

/// An instruction as both engines know it.
struct Decoded {
    insn: Instruction,
    op: Op,
    ends_block: bool,
    /// It may become itself.
    simple: bool,
}

/// Translates the code in `bytes`, the rest of a page from the unit on. `None` when not even the
/// first instruction lies in the page as a whole.
pub(super) fn unit(
    asm: &mut Assembler,
    frame: Frame<'_>,
    bytes: &[u8],
    context: Context,
    infos: &mut InstructionInfoFactory,
) -> Option<(Unit, usize)> {
    let decoded = decode_all(bytes, context, frame);
    if decoded.is_empty() {
        return None;
    }
    let outer = asm.here();
    let mut emitter = Emitter::new(asm, frame);
    if decoded.iter().any(|d| d.simple && is_vector(&d.insn)) {
        emitter.need_vectors();
    }
    let mut ended = false;
    for one in &decoded {
        ended = emitter.one(one, infos) == Then::Ended;
    }
    if !ended && let Some(last) = decoded.last() {
        let at = last.op.start + u16::from(last.op.len);
        emitter.go(at.into(), at, None);
    }
    emitter.finish();
    let (sites, links, inner) = (emitter.sites, emitter.links, emitter.inner);
    Some((Unit::new(inner, outer, sites, links), decoded.len()))
}

fn decode_all(bytes: &[u8], context: Context, frame: Frame<'_>) -> Vec<Decoded> {
    let mut decoder = decode::decoder(bytes, context.code);
    let mut all = Vec::with_capacity(16);
    while all.len() < MOST && decoder.can_decode() {
        let mut insn = Instruction::default();
        decoder.decode_out(&mut insn);
        if decoder.last_error() == DecoderError::NoMoreBytes {
            break;
        }
        if frame.checked && !is_repeatable(&insn) {
            break;
        }
        let lowered = decode::lower(&insn, context);
        let usable = match is_vector(&insn) {
            true if insn.encoding() == iced_x86::EncodingKind::VEX => frame.mode.avx,
            true => frame.mode.sse,
            false => true,
        };
        let simple = !lowered.ends_block
            && usable
            && is_simple(&insn)
            && !context.available.lacks_any(insn.cpuid_features());
        // A call, a return, a jump: what follows is reached some other way. Past a conditional jump
        // the unit goes on.
        let last = lowered.ends_block && !insn.is_jcc_short_or_near();
        all.push(Decoded {
            insn,
            op: lowered.op,
            ends_block: lowered.ends_block,
            simple,
        });
        if last {
            break;
        }
    }
    all
}

impl Emitter<'_> {
    fn one(&mut self, one: &Decoded, infos: &mut InstructionInfoFactory) -> Then {
        let mark = self.mark();
        let done = self.try_one(one, infos);
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

    fn try_one(
        &mut self,
        one: &Decoded,
        infos: &mut InstructionInfoFactory,
    ) -> Result<Then, Refused> {
        let insn = &one.insn;
        if one.ends_block {
            return self.control(insn, &one.op);
        }
        if one.simple {
            self.simple(insn, &one.op, infos)?;
        } else if is_nothing(insn) {
            // No code at all.
        } else {
            self.stack(insn, &one.op)?;
        }
        Ok(Then::GoOn)
    }
}

/// Does the instruction do the same when it runs again from the same state?
fn is_repeatable(insn: &Instruction) -> bool {
    use iced_x86::Mnemonic as M;
    !matches!(
        insn.mnemonic(),
        M::Rdtsc | M::Rdtscp | M::Rdpmc | M::Rdrand | M::Rdseed | M::Rdmsr | M::Wrmsr
    )
}

/// NOPs, hints and prefetches, but not PAUSE, which gives way now and then.
fn is_nothing(insn: &Instruction) -> bool {
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
