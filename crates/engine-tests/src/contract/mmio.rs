//! Accesses to addresses without RAM, by every kind of instruction that drivers and boot code use.

use engine::{Entry, Exit};
use iced_x86::code_asm::*;
use memory::Gpa;

use super::{assemble, end};
use crate::Mode;
use crate::bench::{Bench, Make, Trouble, expect};
use crate::image::{DATA, MMIO};

fn read(offset: u64, size: u8) -> Exit {
    Exit::MmioRead {
        gpa: Gpa(MMIO + offset),
        size,
    }
}

fn write(offset: u64, size: u8, value: u64) -> Exit {
    Exit::MmioWrite {
        gpa: Gpa(MMIO + offset),
        size,
        value,
    }
}

pub(super) fn sizes(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.mov(rbx, MMIO)?;
        a.mov(rax, -1i64)?;
        a.mov(al, byte_ptr(rbx + 1))?;
        a.mov(word_ptr(rbx + 2), ax)?;
        a.mov(eax, dword_ptr(rbx + 4))?;
        a.mov(dword_ptr(rbx + 8), eax)?;
        a.mov(rax, qword_ptr(rbx + 16))?;
        a.mov(qword_ptr(rbx + 24), rax)?;
        a.movzx(ecx, byte_ptr(rbx + 32))?;
        a.movsx(rdx, word_ptr(rbx + 34))?;
        a.mov(byte_ptr(rbx + 40), 0x5a)?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let seat = bench.seat();
    seat.run_to(Entry::Resume, &read(1, 1))?;
    seat.run_to(Entry::CompleteRead(0x99), &write(2, 2, 0xff99))?;
    seat.run_to(Entry::Resume, &read(4, 4))?;
    seat.run_to(Entry::CompleteRead(0x8765_4321), &write(8, 4, 0x8765_4321))?;
    seat.run_to(Entry::Resume, &read(16, 8))?;
    let wide = 0x1122_3344_5566_7788;
    seat.run_to(Entry::CompleteRead(wide), &write(24, 8, wide))?;
    seat.run_to(Entry::Resume, &read(32, 1))?;
    seat.run_to(Entry::CompleteRead(0xf0), &read(34, 2))?;
    seat.run_to(Entry::CompleteRead(0x8001), &write(40, 1, 0x5a))?;
    seat.run_to_end(Entry::Resume)?;
    let state = seat.state()?;
    expect("rcx", state.gpr[1], 0xf0)?;
    expect("rdx", state.gpr[2], 0xffff_ffff_ffff_8001)
}

pub(super) fn read_modify_write(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.mov(rbx, MMIO)?;
        a.mov(eax, 0x10)?;
        a.add(dword_ptr(rbx), eax)?;
        a.or(byte_ptr(rbx + 8), 0x81)?;
        a.neg(word_ptr(rbx + 16))?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let seat = bench.seat();
    seat.run_to(Entry::Resume, &read(0, 4))?;
    seat.run_to(Entry::CompleteRead(0x20), &write(0, 4, 0x30))?;
    seat.run_to(Entry::Resume, &read(8, 1))?;
    seat.run_to(Entry::CompleteRead(0x02), &write(8, 1, 0x83))?;
    seat.run_to(Entry::Resume, &read(16, 2))?;
    seat.run_to(Entry::CompleteRead(1), &write(16, 2, 0xffff))?;
    seat.run_to_end(Entry::Resume)
}

pub(super) fn exchange(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.mov(rbx, MMIO)?;
        a.mov(eax, 0x77)?;
        a.xchg(dword_ptr(rbx), eax)?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let seat = bench.seat();
    seat.run_to(Entry::Resume, &read(0, 4))?;
    seat.run_to(Entry::CompleteRead(0x1234), &write(0, 4, 0x77))?;
    seat.run_to_end(Entry::Resume)?;
    expect("rax", seat.state()?.gpr[0], 0x1234)
}

pub(super) fn push_and_pop(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.mov(rbx, MMIO)?;
        a.push(qword_ptr(rbx))?;
        a.pop(rdx)?;
        a.push(0x55)?;
        a.pop(qword_ptr(rbx + 8))?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let seat = bench.seat();
    seat.run_to(Entry::Resume, &read(0, 8))?;
    seat.run_to(Entry::CompleteRead(0xabcd), &write(8, 8, 0x55))?;
    seat.run_to_end(Entry::Resume)?;
    expect("rdx", seat.state()?.gpr[2], 0xabcd)
}

pub(super) fn string_move(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.mov(rsi, MMIO)?;
        a.mov(rdi, MMIO + 0x100)?;
        a.cld()?;
        a.movsd()?;
        a.mov(rdi, DATA)?;
        a.mov(ecx, 2)?;
        a.rep().movsb()?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let seat = bench.seat();
    seat.run_to(Entry::Resume, &read(0, 4))?;
    seat.run_to(
        Entry::CompleteRead(0xcafe_f00d),
        &write(0x100, 4, 0xcafe_f00d),
    )?;
    seat.run_to(Entry::Resume, &read(4, 1))?;
    seat.run_to(Entry::CompleteRead(0x41), &read(5, 1))?;
    seat.run_to_end(Entry::CompleteRead(0x42))?;
    expect("rcx", seat.state()?.gpr[1], 0)?;
    expect("memory", bench.peek(DATA, 4), 0x4241)
}

/// 16 bytes are told in pieces of at most eight, lowest first.
pub(super) fn sse_move(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.mov(rbx, MMIO)?;
        a.movdqu(xmm0, xmmword_ptr(rbx))?;
        a.movdqu(xmmword_ptr(rbx + 32), xmm0)?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let seat = bench.seat();
    seat.run_to(Entry::Resume, &read(0, 8))?;
    seat.run_to(Entry::CompleteRead(0x1111), &read(8, 8))?;
    seat.run_to(Entry::CompleteRead(0x2222), &write(32, 8, 0x1111))?;
    seat.run_to(Entry::Resume, &write(40, 8, 0x2222))?;
    seat.run_to_end(Entry::Resume)
}
