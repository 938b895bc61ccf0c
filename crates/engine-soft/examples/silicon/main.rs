//! Random user-mode instructions, each run by the interpreter and by this host's own processor from
//! the same registers and memory, and compared in every register, flag and byte.
//!
//! `cargo run --profile guest -p engine-soft --example silicon -- --count 1000000 --seed 1
//! [--translated] [--bits 16|32|64] [--group all|integer|x87|mmx|sse|avx|bits] [--only MNEMONIC] [--show CASES]`
//!
//! `--record FILE` writes the 64-bit cases and the interpreter's results to a file instead.
//!
//! Case n of a seed is always the same case, so a difference is found again by its number.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "random bits are cut to whatever width is needed"
)]

mod address;
mod case;
mod compare;
mod generate;
mod guest;
mod makers;
mod native_raw;
mod opcodes;
mod operands;
mod random;
mod record;
mod run;

use std::collections::BTreeMap;
use std::process::ExitCode;

use case::Width;
use opcodes::Group;
use run::Pair;

struct Options {
    count: u64,
    seed: u64,
    first: u64,
    group: Group,
    width: Width,
    only: Option<String>,
    show: usize,
    verbose: bool,
    translated: bool,
    record: Option<String>,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        count: 20_000,
        seed: 1,
        first: 0,
        group: Group::All,
        width: Width::Bits64,
        only: None,
        show: 20,
        verbose: false,
        translated: false,
        record: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--verbose" {
            options.verbose = true;
            continue;
        }
        if name == "--translated" {
            options.translated = true;
            continue;
        }
        let value = arguments.next().ok_or(format!("{name} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{value} is no number"));
        match name.as_str() {
            "--count" => options.count = number()?,
            "--seed" => options.seed = number()?,
            "--first" => options.first = number()?,
            "--show" => options.show = number()? as usize,
            "--only" => options.only = Some(value.to_lowercase()),
            "--record" => options.record = Some(value),
            "--bits" => {
                options.width = match number()? {
                    16 => Width::Bits16,
                    32 => Width::Bits32,
                    64 => Width::Bits64,
                    other => return Err(format!("{other}-bit code is not compared")),
                };
            }
            "--group" => {
                options.group = Group::named(&value).ok_or(format!("no group {value}"))?;
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    match options().and_then(|options| compare_all(&options)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("silicon: {message}");
            ExitCode::from(2)
        }
    }
}

/// Runs the cases; answers how many differed.
fn compare_all(options: &Options) -> Result<u64, String> {
    let mut opcodes = opcodes::opcodes(options.group, options.width);
    if let Some(only) = &options.only {
        opcodes.retain(|code| {
            format!("{code:?}")
                .to_lowercase()
                .starts_with(only.as_str())
        });
    }
    if opcodes.is_empty() {
        return Err("no opcode is left to choose from".into());
    }
    if let Some(path) = &options.record {
        return record_all(options, path, &opcodes);
    }
    let mut shown = 0;
    let mut failed: BTreeMap<String, u64> = BTreeMap::new();
    let numbers = options.first..options.first + options.count;
    let mut pair = Pair::new()?;
    pair.translate(options.translated);
    let run = pair.run(
        options.seed,
        options.width,
        numbers,
        &opcodes,
        |number, case, found| {
            if options.verbose {
                eprintln!("{number}: {} {:02x?}", case.text, case.bytes);
            }
            if found.is_empty() {
                return;
            }
            let name = case.text.split(' ').next().unwrap_or_default().to_owned();
            let seen = failed.entry(name).or_default();
            *seen += 1;
            if shown < options.show && *seen <= 2 {
                shown += 1;
                println!("case {number}: {}   {:02x?}", case.text, case.bytes);
                println!("  from {}", summary(case));
                found.iter().for_each(|line| println!("  {line}"));
            }
        },
    )?;
    let total: u64 = failed.values().sum();
    for (name, count) in &failed {
        println!("{count:8} {name}");
    }
    let (seed, kinds) = (options.seed, opcodes.len());
    println!("seed {seed}: {run} instructions of {kinds} opcodes compared, {total} differ");
    Ok(total)
}

/// Writes the cases to a file, where none can differ.
fn record_all(options: &Options, path: &str, opcodes: &[iced_x86::Code]) -> Result<u64, String> {
    if options.width != Width::Bits64 {
        return Err("only 64-bit cases are recorded".into());
    }
    let numbers = options.first..options.first + options.count;
    let written = record::record(path, options.seed, numbers, opcodes)?;
    println!("seed {}: {written} cases written", options.seed);
    Ok(0)
}

fn summary(case: &case::Case) -> String {
    let r = &case.registers;
    format!(
        "rip {:#x} rflags {:#x} mxcsr {:#x} fcw {:#x} fsw {:#x} ftw {:#x} gpr {:x?}",
        r.rip, r.rflags, r.fpu.mxcsr, r.fpu.control, r.fpu.status, r.fpu.tag, r.gpr
    )
}
