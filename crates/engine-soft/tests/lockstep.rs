//! Some hundred random programs on the interpreter and on the translator. The same by the thousand:
//! `cargo run --profile guest -p engine-soft --example lockstep -- --count 100000`.

use engine::Engine;
use engine_soft::SoftEngine;
use engine_tests::lockstep::{Choices, Pair, Program, Verdict};

fn pair(warm: u8) -> Pair {
    let pair = Pair::new(
        &|memory| Ok(Box::new(SoftEngine::new(memory)) as Box<dyn Engine>),
        &|memory| Ok(Box::new(SoftEngine::translator_after(memory, warm)) as Box<dyn Engine>),
        ["the interpreter", "the translator"],
    );
    pair.expect("two engines")
}

/// Makes a program of one of the two widths.
type Make = fn(&mut Choices<'_>) -> Option<Program>;

#[test]
fn programs_end_the_same_on_interpreter_and_translator() {
    programs_end_the_same(Program::new);
}

#[test]
fn programs_of_32_bits_end_the_same_on_interpreter_and_translator() {
    programs_end_the_same(Program::new_32);
}

fn programs_end_the_same(make: Make) {
    let seed = 20_261_123;
    let mut ran = 0;
    for warm in [1, 2, 5] {
        let mut engines = pair(warm);
        for case in 0..150 {
            let choices = &mut Choices::of_case(seed + u64::from(warm), case);
            let Some(program) = make(choices) else {
                continue;
            };
            ran += 1;
            match engines.run(&program).expect("no host failure") {
                Verdict::Differs(found) => {
                    let (found, text) = (found.join("\n"), program.listing());
                    panic!("warm {warm}, case {case}:\n{found}\n{text}");
                }
                Verdict::Same | Verdict::Endless => {}
            }
        }
        let translated = &engines.stats()[1].counters;
        let counted = |name| translated.iter().any(|(n, count)| n == name && *count > 10);
        assert!(counted("units translated"), "{translated:?}");
        assert!(counted("jumps linked"), "{translated:?}");
        assert!(counted("code pages that died"), "{translated:?}");
    }
    assert!(ran > 300, "{ran} programs are few");
}

/// Every unit is checked as it runs, and what comes out is what the interpreter does.
#[test]
fn programs_end_the_same_when_each_unit_is_checked() {
    programs_end_the_same_checked(Program::new);
}

#[test]
fn programs_of_32_bits_end_the_same_when_each_unit_is_checked() {
    programs_end_the_same_checked(Program::new_32);
}

fn programs_end_the_same_checked(make: Make) {
    let engines = Pair::new(
        &|memory| Ok(Box::new(SoftEngine::new(memory)) as Box<dyn Engine>),
        &|memory| Ok(Box::new(SoftEngine::lockstep(memory)) as Box<dyn Engine>),
        ["the interpreter", "lockstep"],
    );
    let mut engines = engines.expect("two engines");
    for case in 0..150 {
        let Some(program) = make(&mut Choices::of_case(20_261_124, case)) else {
            continue;
        };
        if let Verdict::Differs(found) = engines.run(&program).expect("no host failure") {
            panic!("case {case}:\n{}\n{}", found.join("\n"), program.listing());
        }
    }
    let compared = &engines.stats()[1].counters;
    let many = |(name, count): &(String, u64)| name == "units compared" && *count > 10_000;
    assert!(compared.iter().any(many), "{compared:?}");
}

/// The comparison sees what is different: the same program with one instruction changed.
#[test]
fn a_different_program_is_seen() {
    let mut engines = pair(1);
    let program = (0..)
        .find_map(|case| Program::new(&mut Choices::of_case(1, case)))
        .expect("a program");
    assert_eq!(engines.run(&program).expect("runs"), Verdict::Same);
    let mut other = program.clone();
    other.change_start();
    let verdict = engines.run_different(&program, &other).expect("runs");
    assert!(matches!(verdict, Verdict::Differs(_)), "{verdict:?}");
}
