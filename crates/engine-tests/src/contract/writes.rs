//! Who wrote where: the dirty log, and code that changes.

use engine::Entry;
use iced_x86::code_asm::*;
use memory::Gpa;
use x86::register::gpr;

use super::{assemble, end};
use crate::Mode;
use crate::bench::{Bench, Make, Trouble, expect};
use crate::image::{DATA, END_PORT};

fn logged(bench: &Bench) -> Result<Vec<Gpa>, Trouble> {
    bench.engine.sync_dirty_log()?;
    Ok(bench.memory.take_dirty_log())
}

fn start_log(bench: &Bench) -> Result<(), Trouble> {
    bench.memory.set_dirty_log(true);
    Ok(bench.engine.set_dirty_log(true)?)
}

pub(super) fn dirty_log(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Protected32, |a| {
        a.mov(dword_ptr(DATA), 1)?;
        a.mov(eax, dword_ptr(DATA + 0x1000))?;
        // Over a page boundary.
        a.mov(dword_ptr(DATA + 0x2ffe), eax)?;
        a.lock().inc(dword_ptr(DATA + 0x5000))?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Protected32, code)?;
    start_log(&bench)?;
    bench.seat().run_to_end(Entry::Resume)?;
    let mut pages = logged(&bench)?;
    pages.retain(|page| page.0 >= DATA);
    let wanted = [0, 0x2000, 0x3000, 0x5000].map(|offset| Gpa(DATA + offset));
    expect("pages", pages, wanted.to_vec())?;
    bench.memory.set_dirty_log(false);
    Ok(bench.engine.set_dirty_log(false)?)
}

/// A page is logged again after the log was taken, though the engine knows it to be writable.
pub(super) fn dirty_log_again(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Protected32, |a| {
        for _ in 0..3 {
            a.inc(dword_ptr(DATA))?;
            a.out(u32::from(END_PORT), al)?;
        }
        Ok(())
    })?;
    let mut bench = Bench::with(make, Mode::Protected32, code)?;
    bench.seat().run_to_end(Entry::Resume)?;
    start_log(&bench)?;
    expect(
        "before any write",
        logged(&bench)?.contains(&Gpa(DATA)),
        false,
    )?;
    for round in ["first", "second"] {
        bench.seat().run_to_end(Entry::Resume)?;
        expect(round, logged(&bench)?.contains(&Gpa(DATA)), true)?;
        expect("taken already", logged(&bench)?.contains(&Gpa(DATA)), false)?;
    }
    Ok(())
}

/// A loop that changes an instruction which it has executed already.
pub(super) fn self_modifying_code(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        let mut again = a.create_label();
        a.xor(ebx, ebx)?;
        a.mov(ecx, 5)?;
        a.lea(rdi, qword_ptr(again))?;
        a.set_label(&mut again)?;
        a.mov(eax, 1)?;
        a.add(ebx, eax)?;
        // The immediate of the MOV.
        a.inc(byte_ptr(rdi + 1))?;
        a.dec(ecx)?;
        a.jnz(again)?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    bench.seat().run_to_end(Entry::Resume)?;
    expect("1+2+3+4+5", bench.seat().state()?.gpr[gpr::RBX], 15)
}

/// The very next instruction is changed: processors notice, and so must we.
pub(super) fn self_modifying_next_instruction(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        let mut patched = a.create_label();
        a.lea(rdi, qword_ptr(patched))?;
        a.mov(byte_ptr(rdi + 1), 0x77)?;
        a.set_label(&mut patched)?;
        a.mov(eax, 1)?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    bench.seat().run_to_end(Entry::Resume)?;
    expect("eax", bench.seat().state()?.gpr[gpr::RAX], 0x77)
}

/// A device (we) writes over code between two runs of it.
pub(super) fn device_writes_code(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        let mut again = a.create_label();
        a.mov(rsi, DATA)?;
        a.set_label(&mut again)?;
        a.call(rsi)?;
        end(a)?;
        a.jmp(again)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    for value in [1u8, 2, 3] {
        // mov eax, value; ret
        bench.poke(DATA, &[0xb8, value, 0, 0, 0, 0xc3])?;
        bench.seat().run_to_end(Entry::Resume)?;
        expect("eax", bench.seat().state()?.gpr[gpr::RAX], u64::from(value))?;
    }
    Ok(())
}
