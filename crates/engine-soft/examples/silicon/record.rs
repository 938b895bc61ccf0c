//! Writes cases and the interpreter's results to a file, for other emulators to be compared with:
//! see `tests/conformance/with_unicorn.py`. One JSON object a line; numbers are decimal, bytes are hex.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::ops::Range;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, InstructionInfoFactory};

use crate::address::{addresses, operands};
use crate::case::{Case, DATA, DATA_PAGES, Outcome, PAGE, Registers, Width};
use crate::generate;
use crate::guest::Guest;
use crate::opcodes::Group;
use crate::random::Random;

/// Repetitions and bit strings stay this near their first address.
const REACH: u64 = 0x400;
const BREAKPOINT: u8 = 3;
/// Groups whose whole state a line holds.
const GROUPS: [Group; 3] = [Group::Integer, Group::Bits, Group::Sse];

/// Writes those of the cases that end without a fault; answers how many these are.
pub(crate) fn record(
    path: &str,
    seed: u64,
    numbers: Range<u64>,
    opcodes: &[Code],
) -> Result<u64, String> {
    let failed = |error: std::io::Error| format!("{path}: {error}");
    let opcodes: Vec<_> = opcodes.iter().copied().filter(|&c| holds(c)).collect();
    if opcodes.is_empty() {
        return Err("only integer and SSE instructions are recorded".into());
    }
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    let mut guest = Guest::new(false);
    let mut written = 0;
    for number in numbers {
        let mut random = Random::for_case(seed, number);
        let Some(case) = generate::case(&mut random, Width::Bits64, &opcodes) else {
            continue;
        };
        let insn = decoded(&case);
        // A changed prefix or bit may have made another kind of instruction.
        if !holds(insn.code()) {
            continue;
        }
        let ours = guest
            .run(&case)
            .map_err(|exit| format!("case {number}: the interpreter left with {exit}"))?;
        if ours.vector == BREAKPOINT {
            writeln!(file, "{}", line(number, &case, &insn, &ours)).map_err(failed)?;
            written += 1;
        }
    }
    file.flush().map_err(failed)?;
    Ok(written)
}

fn holds(code: Code) -> bool {
    GROUPS.iter().any(|group| group.has(code))
        && ![Group::X87, Group::Mmx].iter().any(|group| group.has(code))
        // These write the x87 state to memory.
        && !code.cpuid_features().iter().any(|feature| {
            use iced_x86::CpuidFeature as C;
            matches!(feature, C::FXSR | C::XSAVE)
        })
}

fn decoded(case: &Case) -> Instruction {
    let (bits, rip) = (case.width.bits(), case.registers.rip);
    Decoder::with_ip(bits, &case.bytes, rip, DecoderOptions::NONE).decode()
}

fn line(number: u64, case: &Case, insn: &Instruction, ours: &Outcome) -> String {
    let mnemonic = format!("{:?}", insn.mnemonic()).to_lowercase();
    let mut line = format!(
        r#"{{"case":{number},"text":"{}","mnemonic":"{mnemonic}","features":{:?},"bytes":"{}","#,
        case.text,
        features(insn),
        hex(&case.bytes)
    );
    let defined = !case.undefined_flags & 0xcd5;
    let _ = write!(
        line,
        r#""defined_flags":{defined},"before":{},"memory":{},"after":{},"changed":{}}}"#,
        registers(&case.registers, case.registers.rip),
        list(pages(case, insn)),
        // It went on at the INT3 that ended it.
        registers(&ours.registers, ours.registers.rip.wrapping_sub(1)),
        list(changed(&case.data, &ours.data)),
    );
    line
}

fn features(insn: &Instruction) -> Vec<String> {
    let features = insn.cpuid_features().iter();
    features.map(|feature| format!("{feature:?}")).collect()
}

fn registers(registers: &Registers, rip: u64) -> String {
    let xmm: Vec<_> = registers.fpu.ymm.iter().map(|r| hex(&r[..16])).collect();
    format!(
        r#"{{"rip":{rip},"rflags":{},"gpr":{:?},"mxcsr":{},"xmm":{xmm:?}}}"#,
        registers.rflags, registers.gpr, registers.fpu.mxcsr
    )
}

/// Pages that the operands may lie in, by address.
fn pages<'a>(case: &'a Case, insn: &Instruction) -> Vec<(u64, &'a [u8])> {
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(insn).used_memory();
    let mut wanted = [false; DATA_PAGES as usize];
    for operand in operands(insn, used, case.width) {
        for address in addresses(&case.registers, &operand) {
            let (first, end) = (address - REACH, address + operand.size() + REACH);
            for (n, wanted) in wanted.iter_mut().enumerate() {
                let page = DATA + (n * PAGE) as u64;
                *wanted |= first < page + PAGE as u64 && page < end;
            }
        }
    }
    (0..wanted.len())
        .filter(|&n| wanted[n])
        .map(|n| (DATA + (n * PAGE) as u64, &case.data[n * PAGE..][..PAGE]))
        .collect()
}

/// Runs of bytes that are not what they were.
fn changed<'a>(before: &[u8], after: &'a [u8]) -> Vec<(u64, &'a [u8])> {
    let differs = |at: usize| before[at] != after[at];
    let mut runs = Vec::new();
    let mut at = 0;
    while at < after.len() {
        let len = (at..after.len()).take_while(|&n| differs(n)).count();
        if len > 0 {
            runs.push((DATA + at as u64, &after[at..at + len]));
        }
        at += len + 1;
    }
    runs
}

fn list(parts: Vec<(u64, &[u8])>) -> String {
    let parts = parts.into_iter();
    let parts: Vec<_> = parts
        .map(|(at, bytes)| format!(r#"[{at},"{}"]"#, hex(bytes)))
        .collect();
    format!("[{}]", parts.join(","))
}

/// In memory's order.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
