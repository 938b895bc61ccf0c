//! The contract tests, one a function, by subject.

mod events;
mod faults;
mod io;
mod mmio;
mod msr;
mod smp;
mod state;
mod writes;

use std::panic::{AssertUnwindSafe, catch_unwind};

use iced_x86::code_asm::CodeAssembler;

use crate::bench::{Make, Trouble};
use crate::image::{CODE, END_PORT};
use crate::{Mode, Report, Verdict};

type Test = fn(Make<'_>) -> Result<(), Trouble>;

macro_rules! tests {
    ($($module:ident { $($name:ident),* $(,)? })*) => {
        const TESTS: &[(&str, Test)] =
            &[$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name)),*),*];
    };
}

tests! {
    state {
        reset_state, application_processors_wait, round_trip, round_trip_of_avx,
        round_trip_of_real_mode,
        cpuid_answers_the_table, translate_follows_page_tables, devices_round_trip,
        time_stamp_counter,
    }
    io { port_sizes, string_output, string_input }
    mmio { sizes, read_modify_write, exchange, push_and_pop, string_move, sse_move }
    events {
        halt, halt_is_state, kick_before_run, kick_during_run, kick_survives_an_exit, triple_fault,
        interrupt_in_real_mode, interrupt_in_protected_mode, interrupt_in_long_mode,
        interrupts_wait_for_the_flag, sti_holds_off_one_instruction, nmi, nmi_waits_for_iret,
        nmis_at_once_are_two, unfinished_deliveries_are_finished,
        software_interrupt, single_step, single_step_over_input, message_signalled,
    }
    msr { unknown_read, unknown_write, unknown_fault, own_msrs }
    faults {
        page_not_present, page_read_only, page_no_execute, page_user, general_protection,
        invalid_opcode, divide_error, faulting_read_restarts,
    }
    writes {
        dirty_log, dirty_log_again, self_modifying_code, self_modifying_next_instruction,
        device_writes_code,
    }
    smp { atomics, code_modified_by_another, compare_exchange_16_bytes, starts_by_init_and_sipi }
}

/// Runs every contract test on engines that `make` makes, each on a guest of its own.
#[must_use]
pub fn run_all(make: Make<'_>) -> Report {
    let verdicts = TESTS.iter().map(|&(name, test)| {
        let verdict = catch_unwind(AssertUnwindSafe(|| test(make))).map_or_else(
            |_| Verdict::Wrong("the engine panicked".to_owned()),
            Verdict::from,
        );
        (name.to_owned(), verdict)
    });
    Report {
        verdicts: verdicts.collect(),
    }
}

/// Assembles at [`CODE`]. A mistake in a test's own code is a bug of the test.
fn assemble(
    mode: Mode,
    write: impl FnOnce(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>,
) -> Result<Vec<u8>, Trouble> {
    let bug = |error: iced_x86::IcedError| Trouble::Wrong(format!("cannot assemble: {error}"));
    let mut assembler = CodeAssembler::new(mode.bits()).map_err(bug)?;
    write(&mut assembler).map_err(bug)?;
    assembler.assemble(CODE).map_err(bug)
}

/// The instruction that ends a test.
fn end(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    use iced_x86::code_asm::al;
    a.out(u32::from(END_PORT), al)
}
