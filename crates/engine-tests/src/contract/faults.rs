//! Exceptions: vector, what is pushed, CR2, and that the instruction did nothing.
//! Spec: Intel SDM Vol. 3, "Interrupt and Exception Handling", "Paging".

use engine::Entry;
use iced_x86::code_asm::*;
use x86::exception::{page_fault, vector};
use x86::register::gpr;

use super::{assemble, end};
use crate::Mode;
use crate::bench::{Bench, Make, Trouble, expect};
use crate::image::{CODE, DATA, PT, selector};

const PAGE_ENTRY: u64 = PT + (DATA >> 12) * 8;

/// Runs into a fault and compares what is on the handler's stack: error code, RIP.
fn fault(bench: &mut Bench, number: u8, code: u64, rip: u64) -> Result<(), Trouble> {
    let got = bench.seat().run_to_trap(Entry::Resume)?;
    expect("vector", got, number)?;
    // The stub has popped nothing yet but has RAX of its own on top.
    let frame = bench.seat().state()?.gpr[gpr::RSP] + 8;
    expect("error code", bench.peek(frame, 8), code)?;
    expect("rip pushed", bench.peek(frame + 8, 8), rip)
}

fn page(
    make: Make<'_>,
    entry_bits: u64,
    code: Vec<u8>,
    rip: u64,
    error: u32,
) -> Result<(), Trouble> {
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    bench.poke(PAGE_ENTRY, &(DATA | entry_bits).to_le_bytes())?;
    fault(&mut bench, vector::PF, u64::from(error), rip)?;
    expect("cr2", bench.seat().state()?.cr2 & !0xff, DATA)
}

/// `mov rbx, DATA` (10 bytes), then the instruction under test.
const AFTER_MOV: u64 = CODE + 10;

pub(super) fn page_not_present(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.mov(rbx, DATA)?;
        a.mov(eax, dword_ptr(rbx + 0x34))?;
        end(a)
    })?;
    page(make, 0, code, AFTER_MOV, 0)
}

pub(super) fn page_read_only(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.mov(rbx, DATA)?;
        a.mov(dword_ptr(rbx), eax)?;
        end(a)
    })?;
    page(
        make,
        1,
        code,
        AFTER_MOV,
        page_fault::PRESENT | page_fault::WRITE,
    )
}

pub(super) fn page_no_execute(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.mov(rbx, DATA)?;
        a.jmp(rbx)?;
        end(a)
    })?;
    page(
        make,
        3 | 1 << 63,
        code,
        DATA,
        page_fault::PRESENT | page_fault::FETCH,
    )
}

/// Ring 3 reads a supervisor page.
pub(super) fn page_user(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        let mut user = a.create_label();
        a.push(i32::from(selector::USER_DATA))?;
        a.push(0x1_8000)?;
        a.push(2)?;
        a.push(i32::from(selector::USER_CODE_64))?;
        a.lea(rax, qword_ptr(user))?;
        a.push(rax)?;
        a.iretq()?;
        a.set_label(&mut user)?;
        a.mov(rbx, DATA)?;
        a.mov(eax, dword_ptr(rbx))?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    bench.poke(PAGE_ENTRY, &(DATA | 3).to_le_bytes())?;
    let number = bench.seat().run_to_trap(Entry::Resume)?;
    expect("vector", number, vector::PF)?;
    let state = bench.seat().state()?;
    let frame = state.gpr[gpr::RSP] + 8;
    let error = page_fault::PRESENT | page_fault::USER;
    expect("error code", bench.peek(frame, 8), u64::from(error))?;
    expect(
        "cs pushed",
        bench.peek(frame + 16, 8),
        u64::from(selector::USER_CODE_64),
    )?;
    expect("rsp pushed", bench.peek(frame + 32, 8), 0x1_8000)?;
    expect(
        "ss pushed",
        bench.peek(frame + 40, 8),
        u64::from(selector::USER_DATA),
    )?;
    expect("cr2", state.cr2, DATA)
}

pub(super) fn general_protection(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.mov(rbx, 1u64 << 63)?;
        a.mov(eax, dword_ptr(rbx))?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    fault(&mut bench, vector::GP, 0, AFTER_MOV)
}

pub(super) fn invalid_opcode(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.nop()?;
        a.ud2()?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    expect(
        "vector",
        bench.seat().run_to_trap(Entry::Resume)?,
        vector::UD,
    )?;
    let frame = bench.seat().state()?.gpr[gpr::RSP] + 8;
    expect("rip pushed", bench.peek(frame, 8), CODE + 1)
}

pub(super) fn divide_error(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.xor(ecx, ecx)?;
        a.div(ecx)?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    expect(
        "vector",
        bench.seat().run_to_trap(Entry::Resume)?,
        vector::DE,
    )?;
    let frame = bench.seat().state()?.gpr[gpr::RSP] + 8;
    expect("rip pushed", bench.peek(frame, 8), CODE + 2)
}

/// A REP that faults in its middle has moved what it moved, and goes on when the page is there.
pub(super) fn faulting_read_restarts(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.mov(rsi, DATA - 4)?;
        a.mov(rdi, DATA + 0x1_0000)?;
        a.mov(ecx, 8)?;
        a.cld()?;
        a.rep().movsb()?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    bench.poke(DATA - 4, b"abcdefgh")?;
    bench.poke(PAGE_ENTRY, &DATA.to_le_bytes())?;
    expect(
        "vector",
        bench.seat().run_to_trap(Entry::Resume)?,
        vector::PF,
    )?;
    let state = bench.seat().state()?;
    expect("rcx in the handler", state.gpr[gpr::RCX], 4)?;
    expect("rsi in the handler", state.gpr[gpr::RSI], DATA)?;
    // A page that becomes present needs no flush.
    bench.poke(PAGE_ENTRY, &(DATA | 3).to_le_bytes())?;
    bench.seat().run_to_end(Entry::Resume)?;
    expect(
        "memory",
        bench.peek(DATA + 0x1_0000, 8),
        u64::from_le_bytes(*b"abcdefgh"),
    )
}
