//! RDMSR and WRMSR of what the engine keeps and of what it does not.

use engine::{Entry, Exit};
use iced_x86::code_asm::*;
use x86::exception::vector;
use x86::{Exception, msr};

use super::{assemble, end};
use crate::Mode;
use crate::bench::{Bench, Make, Trouble, expect};

/// No processor has it.
const NOBODYS: u32 = 0x1234_5678;

pub(super) fn unknown_read(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.mov(rax, -1i64)?;
        a.mov(rdx, -1i64)?;
        a.mov(ecx, NOBODYS)?;
        a.rdmsr()?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let seat = bench.seat();
    seat.run_to(Entry::Resume, &Exit::MsrRead { index: NOBODYS })?;
    seat.run_to_end(Entry::CompleteRead(0x1122_3344_5566_7788))?;
    let state = seat.state()?;
    expect(
        "rdx:rax",
        (state.gpr[2], state.gpr[0]),
        (0x1122_3344, 0x5566_7788),
    )
}

pub(super) fn unknown_write(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.mov(rax, -1i64)?;
        a.mov(edx, 0x11)?;
        a.mov(ecx, NOBODYS)?;
        a.wrmsr()?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let seat = bench.seat();
    let write = Exit::MsrWrite {
        index: NOBODYS,
        value: 0x11_ffff_ffff,
    };
    seat.run_to(Entry::Resume, &write)?;
    seat.run_to_end(Entry::Resume)
}

pub(super) fn unknown_fault(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.mov(ecx, NOBODYS)?;
        a.rdmsr()?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let seat = bench.seat();
    seat.run_to(Entry::Resume, &Exit::MsrRead { index: NOBODYS })?;
    let trap = seat.run_to_trap(Entry::Fault(Exception::gp(0)))?;
    expect("vector", trap, vector::GP)
}

pub(super) fn own_msrs(make: Make<'_>) -> Result<(), Trouble> {
    let values = [
        (msr::LSTAR, 0xffff_8000_1234_5678_u64),
        (msr::STAR, 0x0013_0008_0000_0000),
        (msr::KERNEL_GS_BASE, 0x0000_7fff_0000_1000),
        (msr::SYSENTER_EIP, 0xffff_ffff_8100_0000),
        (msr::PAT, 0x0007_0106_0007_0406),
    ];
    let code = assemble(Mode::Long64, |a| {
        for (index, value) in values {
            a.mov(ecx, index)?;
            a.mov(rax, value)?;
            a.mov(rdx, rax)?;
            a.shr(rdx, 32)?;
            a.wrmsr()?;
            a.xor(eax, eax)?;
            a.rdmsr()?;
            a.shl(rdx, 32)?;
            a.or(rax, rdx)?;
            a.mov(rbx, value)?;
            a.sub(rbx, rax)?;
            a.or(rsi, rbx)?;
        }
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let seat = bench.seat();
    seat.run_to_end(Entry::Resume)?;
    let state = seat.state()?;
    expect("what was read back differs in bits", state.gpr[6], 0)?;
    for (index, value) in values {
        expect(
            "MSR in the state",
            state.msrs.get(&index).copied(),
            Some(value),
        )?;
    }
    Ok(())
}
