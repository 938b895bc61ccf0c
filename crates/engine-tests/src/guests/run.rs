//! Runs one guest test and compares.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use engine::{Entry, Exit};
use x86::cpuid::feature;
use x86::register::{cr4, gpr, xcr0};
use x86::{Activity, CpuState};

use super::case::{Case, Place, Value, low};
use crate::bench::{Bench, Make, Trouble, cpuid_table, expect, wrong};
use crate::image::{END_PORT, TRAP_PORT};
use crate::{Image, Mode};

pub(super) fn run(make: Make<'_>, case: &Case, code: Vec<u8>) -> Result<(), Trouble> {
    let needs_avx = check_needs(case)?;
    let image = Image {
        mode: case.mode,
        code,
    };
    let mut bench = Bench::bare(make, 1)?;
    bench.load(&image)?;
    let mut state = image.state();
    if needs_avx {
        state.cr4 |= cr4::OSXSAVE;
        state.xcr0 = xcr0::X87 | xcr0::SSE | xcr0::AVX;
    }
    for (place, value) in &case.inputs {
        put(&bench, &mut state, *place, value)?;
    }
    bench.seat().vcpu.set_state(&state)?;
    let trap = run_to_end(&mut bench)?;
    let state = bench.seat().state()?;
    let state = check_trap(&bench, case, trap, state)?;
    compare(&bench, case, &state)
}

/// Skips what the CPU model lacks here; do the features need XCR0?
fn check_needs(case: &Case) -> Result<bool, Trouble> {
    let table = cpuid_table(0, 1);
    for name in &case.needs {
        let known = feature::ALL.iter().find(|feature| feature.name == name);
        let Some(feature) = known else {
            return wrong(format!("there is no CPU feature {name:?}"));
        };
        if !table.has(*feature) {
            return Err(Trouble::NotApplicable(format!("the host has no {name}")));
        }
    }
    Ok(case
        .needs
        .iter()
        .any(|name| ["avx", "avx2", "fma", "f16c"].contains(&name.as_str())))
}

/// Runs to HLT, or to the stub of an exception: its vector.
fn run_to_end(bench: &mut Bench) -> Result<Option<u8>, Trouble> {
    let (done, stop) = mpsc::channel::<()>();
    // Where the kernel waits out a HLT itself, only looking tells that the guest halted.
    let looker = bench.in_kernel().then(|| {
        let kick = bench.seat().vcpu.kick();
        thread::spawn(move || {
            while stop.recv_timeout(Duration::from_millis(3))
                == Err(mpsc::RecvTimeoutError::Timeout)
            {
                kick.kick();
            }
        })
    });
    let result = run_on(bench);
    drop(done);
    if let Some(looker) = looker {
        let _ = looker.join();
    }
    result
}

fn run_on(bench: &mut Bench) -> Result<Option<u8>, Trouble> {
    loop {
        match bench.seat().run(Entry::Resume)? {
            Exit::Halted => return Ok(None),
            Exit::Interrupted => {
                if bench.seat().state()?.activity == Activity::Halted {
                    return Ok(None);
                }
            }
            Exit::PortWrite { port, .. } if port == u16::from(END_PORT) => return Ok(None),
            Exit::PortWrite { port, value, .. } if port == u16::from(TRAP_PORT) => {
                return Ok(Some(u8::try_from(value).unwrap_or(u8::MAX)));
            }
            exit => return wrong(format!("exit {exit:x?}")),
        }
    }
}

/// Size in bytes of what interrupts push.
fn word(mode: Mode) -> u8 {
    match mode {
        Mode::Real16 => 2,
        Mode::Protected32 => 4,
        Mode::Long64 => 8,
    }
}

/// Compares vector, error code and RIP; answers the state as it was when the exception came.
fn check_trap(
    bench: &Bench,
    case: &Case,
    got: Option<u8>,
    mut state: CpuState,
) -> Result<CpuState, Trouble> {
    let wanted = case.trap.as_ref().map(|trap| trap.vector);
    let size = word(case.mode);
    // In real mode the stack is addressed by SP alone.
    let top = match case.mode {
        Mode::Real16 => state.gpr[gpr::RSP] & 0xffff,
        _ => state.gpr[gpr::RSP],
    };
    let slot = |index: u64| bench.peek(top + index * u64::from(size), usize::from(size));
    if got != wanted {
        let (first, second) = (slot(1), slot(2));
        return wrong(format!(
            "trap {got:?}, wanted {wanted:?}; pushed {first:#x}, {second:#x}; cr2 {:#x}",
            state.cr2
        ));
    }
    let Some(trap) = &case.trap else {
        return Ok(state);
    };
    // The stub has pushed rAX, to use AL.
    let rax = slot(0);
    let mut next = 1;
    if let Some(error) = trap.error {
        expect("error code", slot(next), error)?;
        next += 1;
    }
    if let Some(at) = trap.at {
        expect("address pushed", slot(next), at)?;
    }
    state.gpr[gpr::RAX] = rax;
    Ok(state)
}

fn put(bench: &Bench, state: &mut CpuState, place: Place, value: &Value) -> Result<(), Trouble> {
    match place {
        Place::General(index) => state.gpr[index] = low(value),
        Place::Rip => state.rip = low(value),
        Place::Efer => state.efer = low(value),
        Place::Control(0) => state.cr0 = low(value),
        Place::Control(2) => state.cr2 = low(value),
        Place::Control(3) => state.cr3 = low(value),
        Place::Control(_) => state.cr4 = low(value),
        Place::Xmm(index) => state.fpu.ymm[index][..16].copy_from_slice(&value[..16]),
        Place::Ymm(index) => state.fpu.ymm[index] = *value,
        Place::Memory(size, address) => bench.poke(address, &value[..size])?,
    }
    Ok(())
}

fn get(bench: &Bench, state: &CpuState, place: Place) -> Value {
    let mut value = [0; 32];
    let number = match place {
        Place::General(index) => state.gpr[index],
        Place::Rip => state.rip,
        Place::Efer => state.efer,
        Place::Control(0) => state.cr0,
        Place::Control(2) => state.cr2,
        Place::Control(3) => state.cr3,
        Place::Control(_) => state.cr4,
        Place::Xmm(index) => {
            value[..16].copy_from_slice(&state.fpu.ymm[index][..16]);
            return value;
        }
        Place::Ymm(index) => return state.fpu.ymm[index],
        Place::Memory(size, address) => {
            for (byte, at) in value[..size].iter_mut().zip(address..) {
                *byte = bench.peek(at, 1).to_le_bytes()[0];
            }
            return value;
        }
    };
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

/// As people write it: most significant first, without the zeros in front.
fn written(value: &Value) -> String {
    let digits: String = value
        .iter()
        .rev()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let trimmed = digits.trim_start_matches('0');
    format!("0x{}", if trimmed.is_empty() { "0" } else { trimmed })
}

fn compare(bench: &Bench, case: &Case, state: &CpuState) -> Result<(), Trouble> {
    let mut differences = Vec::new();
    for (place, wanted) in &case.outputs {
        let got = get(bench, state, *place);
        if got != *wanted {
            differences.push(format!(
                "{place:?} is {}, wanted {}",
                written(&got),
                written(wanted)
            ));
        }
    }
    if let Some((wanted, counted)) = case.flags {
        let got = state.rflags & counted;
        if got != wanted & counted {
            differences.push(format!(
                "flags are {got:#x}, wanted {:#x}",
                wanted & counted
            ));
        }
    }
    if differences.is_empty() {
        Ok(())
    } else {
        wrong(differences.join("; "))
    }
}
