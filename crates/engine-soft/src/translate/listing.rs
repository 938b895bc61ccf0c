//! Translations as text: the guest's instructions, and the host's that they become.
//!
//! Nothing in it depends on where things lie in this process: places in the vCPU have names, jumps
//! go to labels, and the addresses of sites are left out. So it can be compared with a file.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Formatter, Instruction, NasmFormatter, OpKind,
    Register,
};

use super::assembler::{Assembler, Section};
use super::emitter::{Frame, Way};
use super::facts::Forms;
use super::make::{self, Tools};
use super::native;
use super::registers;
use super::unit::Referred;
use super::x87_state;
use crate::interp::decode::{self, Context};

/// Between sections.
const FAR: u64 = 0x10_0000;

/// The unit at the start of `bytes` and its translation, made for `base`, which the stubs must be near;
/// `None` where there is none.
pub(super) fn listing(
    frame: Frame<'_>,
    base: u64,
    bytes: &[u8],
    context: Context,
    rip: u64,
) -> Option<String> {
    let mut asm = Assembler::new();
    // The rest lies far away, as it does in the translator's memory.
    let far = base + FAR;
    asm.start(base, far);
    let mut forms = Forms::new();
    let mut referred = Referred::new(0)?;
    let tools = Tools {
        asm: &mut asm,
        forms: &mut forms,
        referred: &mut referred,
    };
    let count = make::unit(tools, frame, bytes, context)?.instructions;
    let mut text = guest(bytes, context, rip, count);
    text.push_str("->\n");
    let [hot, cold] = [(Section::Hot, base), (Section::Cold, far)]
        .map(|(section, at)| decoded(asm.bytes(section), at));
    text.push_str(&host(frame, &hot, &cold));
    Some(text)
}

fn guest(bytes: &[u8], context: Context, rip: u64, count: usize) -> String {
    let mut text = String::new();
    let mut decoder = decode::decoder(bytes, context.code);
    decoder.set_ip(rip);
    let mut formatter = NasmFormatter::new();
    for insn in decoder.iter().take(count) {
        let _ = write!(text, "{:x}  ", insn.ip());
        formatter.format(&insn, &mut text);
        text.push('\n');
    }
    text
}

fn decoded(bytes: &[u8], at: u64) -> Vec<Instruction> {
    Decoder::with_ip(64, bytes, at, DecoderOptions::NONE)
        .into_iter()
        .collect()
}

/// What usually runs, and behind a line what hardly ever does.
fn host(frame: Frame<'_>, hot: &[Instruction], cold: &[Instruction]) -> String {
    let all: BTreeSet<u64> = hot.iter().chain(cold).map(Instruction::ip).collect();
    let targets: BTreeSet<u64> = hot
        .iter()
        .chain(cold)
        .filter(|insn| insn.op0_kind() == OpKind::NearBranch64)
        .map(Instruction::near_branch_target)
        .filter(|target| all.contains(target))
        .collect();
    let label = |at: u64| format!("L{}", targets.range(..at).count());
    let mut formatter = NasmFormatter::new();
    let mut text = String::new();
    for (n, insn) in hot.iter().chain(cold).enumerate() {
        if n == hot.len() {
            text.push_str("--\n");
        }
        if targets.contains(&insn.ip()) {
            let _ = writeln!(text, "{}:", label(insn.ip()));
        }
        let mut line = String::new();
        formatter.format(insn, &mut line);
        if insn.op0_kind() == OpKind::NearBranch64 {
            let target = insn.near_branch_target();
            let mnemonic = line.split(' ').next().unwrap_or_default().to_owned();
            let to = if targets.contains(&target) {
                label(target)
            } else {
                stub(frame, target)
            };
            line = format!("{mnemonic} {to}");
        } else if is_address(insn) {
            line = "mov rax,<site>".to_owned();
        } else if insn.memory_segment() == Register::GS {
            line = named(insn, &line);
        }
        let _ = writeln!(text, "    {line}");
    }
    text
}

/// Does the instruction load the address of something of ours?
fn is_address(insn: &Instruction) -> bool {
    insn.code() == Code::Mov_r64_imm64
        && insn.flow_control() == FlowControl::Next
        && insn.op0_register() == Register::RAX
}

fn stub(frame: Frame<'_>, target: u64) -> String {
    let stubs = frame.stubs;
    let set = frame.mode.set();
    for (name, at) in [
        ("find_to_read", stubs.range(Way::Read, set)),
        ("find_to_write", stubs.range(Way::Write, set)),
        ("sysret", stubs.sysret),
        ("handler", stubs.handler),
        ("leave_at", stubs.leave_at),
        ("look_further", stubs.further[set]),
        ("leave_link", stubs.leave_link),
        ("load_vectors", stubs.load_vectors),
        ("load_x87", stubs.x87.load),
    ] {
        if at == target {
            return name.to_owned();
        }
    }
    "elsewhere".to_owned()
}

/// The line with the name of the place in the vCPU.
fn named(insn: &Instruction, line: &str) -> String {
    let Some(name) = place(insn.memory_displacement64() as u32) else {
        return line.to_owned();
    };
    let (Some(open), Some(close)) = (line.find('['), line.find(']')) else {
        return line.to_owned();
    };
    let inside = &line[open + 1..close];
    let operand = match (insn.memory_base(), insn.memory_index()) {
        (Register::None, Register::None) => format!("gs:{name}"),
        _ => {
            let cut = inside.rfind(['+', '-']).unwrap_or(inside.len());
            format!("{}+{name}", &inside[..cut])
        }
    };
    format!("{}[{operand}]{}", &line[..open], &line[close + 1..])
}

fn place(disp: u32) -> Option<String> {
    for number in 0..16 {
        if native::gpr(number) == disp {
            return Some(format!("{:?}", registers::wide(number)).to_lowercase());
        }
    }
    for index in 0..6 {
        if native::segment_base(index) == disp {
            return Some(format!("segment_base[{index}]"));
        }
        if native::hidden_base(index) == disp {
            return Some(format!("hidden_base[{index}]"));
        }
        if native::selector(index) == disp {
            return Some(format!("selector[{index}]"));
        }
    }
    for set in 0..3 {
        for (name, at) in [
            ("tlb.read", native::tlb_tag(Way::Read, set)),
            ("tlb.write", native::tlb_tag(Way::Write, set)),
            ("tlb.read_distance", native::tlb_distance(Way::Read, set)),
            ("tlb.write_distance", native::tlb_distance(Way::Write, set)),
            ("jumps.tags", native::jump_tag(set)),
            ("jumps.codes", native::jump_code(set)),
        ] {
            if at == disp {
                return Some(format!("{name}[{set}]"));
            }
        }
    }
    let single = [
        ("page_base", native::PAGE_BASE),
        ("target", native::TARGET),
        ("bell", native::BELL),
        ("vectors_loaded", native::VECTORS_LOADED),
        ("rip", native::RIP),
        ("status", native::STATUS),
        ("rflags", native::RFLAGS),
        ("open_segments", native::OPEN_SEGMENTS),
        ("attention", native::ATTENTION),
        ("cr0", native::CR0),
        ("cr2", native::CR2),
        ("cr3", native::CR3),
        ("cr4", native::CR4),
        ("fast_calls.ready", native::FAST_READY),
        ("jumps.mode[0]", native::jump_mode(0)),
        ("pkru", native::PKRU),
        ("features", native::FEATURES),
        ("tsc_offset", native::TSC_OFFSET),
        ("tsc_aux", native::TSC_AUX),
        ("kernel_gs_base", native::KERNEL_GS_BASE),
        ("current_set", native::CURRENT_SET),
        ("salt", native::SALT),
        ("mxcsr", native::MXCSR),
        ("x87.loaded", x87_state::LOADED),
        ("x87.page", x87_state::PAGE),
        ("x87.offset", x87_state::OFFSET),
        ("x87.word", x87_state::WORD),
    ];
    single
        .into_iter()
        .find(|(_, at)| *at == disp)
        .map(|(name, _)| name.to_owned())
}

#[cfg(test)]
mod tests;
