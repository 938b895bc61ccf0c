//! A few thousand random instructions in the interpreter and on this host's own processor. The same
//! by the million: `cargo run --profile guest -p engine-soft --example silicon -- --count 1000000`.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "random bits are cut to whatever width is needed"
)]

#[path = "../examples/silicon/address.rs"]
mod address;
#[path = "../examples/silicon/case.rs"]
mod case;
#[path = "../examples/silicon/compare.rs"]
mod compare;
#[path = "../examples/silicon/generate.rs"]
mod generate;
#[path = "../examples/silicon/guest.rs"]
mod guest;
#[path = "../examples/silicon/makers.rs"]
mod makers;
#[path = "../examples/silicon/native_raw.rs"]
mod native_raw;
#[path = "../examples/silicon/opcodes.rs"]
mod opcodes;
#[path = "../examples/silicon/operands.rs"]
mod operands;
#[path = "../examples/silicon/random.rs"]
mod random;
#[path = "../examples/silicon/run.rs"]
mod run;

use case::Width;
use opcodes::Group;
use run::Pair;

/// One test, since the pages of the cases have fixed addresses in the process.
#[test]
fn both_engines_do_what_the_silicon_does() {
    let mut pair = Pair::new().expect("pages and signals");
    for translated in [false, true] {
        pair.translate(translated);
        compare_all(&mut pair);
    }
}

fn compare_all(pair: &mut Pair) {
    let seed = 20_261_122;
    let mut wrong = Vec::new();
    for width in [Width::Bits64, Width::Bits32, Width::Bits16] {
        let all = Group::named("all").expect("a group");
        let opcodes = opcodes::opcodes(all, width);
        let run = pair.run(seed, width, 0..5000, &opcodes, |number, case, found| {
            if !found.is_empty() {
                wrong.push(format!("{width:?} case {number}, {}: {found:?}", case.text));
            }
        });
        assert!(run.expect("every case ends") > 4000);
    }
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
}
