//! Random programs, each run by the interpreter and by the translator from the same state, and
//! compared in every register and byte at the end. See docs/reference/lockstep.md.
//!
//! `cargo run --profile guest -p engine-soft --example lockstep -- --count 100000 --seed 1
//! [--first N] [--show CASES] [--warm N | --checked] [--bits 32]`
//!
//! Case n of a seed is always the same program. Engines are made anew every [`BATCH`] cases; a case
//! that differs is run again on new ones, and made smaller if it differs there too.

use std::process::ExitCode;

use engine::{Engine, EngineError};
use engine_soft::SoftEngine;
use engine_tests::lockstep::{Choices, Pair, Program, Verdict};

/// Cases that run on the same engines one after the other.
const BATCH: u64 = 64;

struct Options {
    count: u64,
    seed: u64,
    first: u64,
    show: u64,
    warm: Option<u8>,
    list: bool,
    checked: bool,
    /// Width of the programs' code: 32 or 64.
    bits: u64,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        count: 1000,
        seed: 1,
        first: 0,
        show: 5,
        warm: None,
        list: false,
        checked: false,
        bits: 64,
    };
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        if name == "--list" {
            options.list = true;
            continue;
        }
        if name == "--checked" {
            options.checked = true;
            continue;
        }
        let value = words.next().ok_or(format!("{name} needs a value"))?;
        let number = value.parse().map_err(|_| format!("{value} is no number"))?;
        match name.as_str() {
            "--count" => options.count = number,
            "--seed" => options.seed = number,
            "--first" => options.first = number,
            "--bits" if matches!(number, 32 | 64) => options.bits = number,
            "--show" => options.show = number,
            "--warm" => options.warm = Some(u8::try_from(number).map_err(|e| e.to_string())?),
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}

/// Two new engines. Some batches translate everything, others what runs a few times.
fn pair(options: &Options, case: u64) -> Result<Pair, EngineError> {
    let warm = options
        .warm
        .unwrap_or([1, 1, 2, 5][(case / BATCH % 4) as usize]);
    let translator = |memory| match options.checked {
        true => SoftEngine::lockstep(memory),
        false => SoftEngine::translator_after(memory, warm),
    };
    Pair::new(
        &|memory| Ok(Box::new(SoftEngine::new(memory)) as Box<dyn Engine>),
        &|memory| Ok(Box::new(translator(memory)) as Box<dyn Engine>),
        ["the interpreter", "the translator"],
    )
}

fn run(options: &Options) -> Result<u64, String> {
    let failed = |error: EngineError| error.to_string();
    let mut engines = pair(options, options.first).map_err(failed)?;
    let (mut ran, mut endless, mut differ, mut instructions) = (0, 0, 0, 0);
    for case in options.first..options.first + options.count {
        if case % BATCH == 0 {
            instructions += engines.stats()[0].instructions;
            engines = pair(options, case).map_err(failed)?;
        }
        let choices = &mut Choices::of_case(options.seed, case);
        let program = match options.bits {
            32 => Program::new_32(choices),
            _ => Program::new(choices),
        };
        let Some(program) = program else {
            continue;
        };
        if options.list {
            println!("case {case}\n{}", program.listing());
        }
        ran += 1;
        match engines.run(&program).map_err(failed)? {
            Verdict::Same => {}
            Verdict::Endless => {
                endless += 1;
                println!("case {case} of seed {} does not end", options.seed);
            }
            Verdict::Differs(found) => {
                differ += 1;
                println!("case {case} of seed {} differs:", options.seed);
                found.iter().for_each(|line| println!("  {line}"));
                if differ <= options.show {
                    explain(options, case, &program).map_err(failed)?;
                }
                engines = pair(options, case).map_err(failed)?;
            }
        }
    }
    instructions += engines.stats()[0].instructions;
    println!(
        "seed {}: {ran} programs of {instructions} instructions compared, {endless} without an end, \
         {differ} differ",
        options.seed
    );
    Ok(differ)
}

fn explain(options: &Options, case: u64, program: &Program) -> Result<(), EngineError> {
    if !matches!(pair(options, case)?.run(program)?, Verdict::Differs(_)) {
        println!(
            "  but not on new engines: run its batch from {}",
            case / BATCH * BATCH
        );
        return Ok(());
    }
    let small = program.shrink(|| pair(options, case))?;
    if let Verdict::Differs(found) = pair(options, case)?.run(&small)? {
        found.iter().for_each(|line| println!("  small: {line}"));
    }
    println!("{}", small.listing());
    Ok(())
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("lockstep: {message}");
            ExitCode::from(2)
        }
    }
}
