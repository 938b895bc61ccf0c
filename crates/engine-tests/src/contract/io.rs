//! Port I/O. Spec: Intel SDM Vol. 1, "Input/Output"; Vol. 2, "INS", "OUTS".

use engine::{Entry, Exit};
use iced_x86::code_asm::*;

use super::{assemble, end};
use crate::bench::{Bench, Make, Trouble, expect};
use crate::image::DATA;
use crate::{Mode, bench};

pub(super) fn port_sizes(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Protected32, |a| {
        a.mov(dx, 0x1234)?;
        a.mov(eax, -1)?;
        a.in_(al, dx)?;
        a.out(dx, eax)?;
        a.in_(ax, dx)?;
        a.out(dx, ax)?;
        a.in_(eax, 0x71)?;
        a.out(0x70, al)?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Protected32, code)?;
    let seat = bench.seat();
    seat.run_to(
        Entry::Resume,
        &Exit::PortRead {
            port: 0x1234,
            size: 1,
        },
    )?;
    // Upper bits of an answer that is too wide must not get through.
    let write = Exit::PortWrite {
        port: 0x1234,
        size: 4,
        value: 0xffff_ff42,
    };
    seat.run_to(Entry::CompleteRead(0x5542), &write)?;
    seat.run_to(
        Entry::Resume,
        &Exit::PortRead {
            port: 0x1234,
            size: 2,
        },
    )?;
    let write = Exit::PortWrite {
        port: 0x1234,
        size: 2,
        value: 0xbeef,
    };
    seat.run_to(Entry::CompleteRead(0xbeef), &write)?;
    seat.run_to(
        Entry::Resume,
        &Exit::PortRead {
            port: 0x71,
            size: 4,
        },
    )?;
    let write = Exit::PortWrite {
        port: 0x70,
        size: 1,
        value: 0x0d,
    };
    seat.run_to(Entry::CompleteRead(0xf00d_f00d), &write)?;
    seat.run_to_end(Entry::Resume)?;
    expect("eax", seat.state()?.gpr[0], 0xf00d_f00d)
}

pub(super) fn string_output(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Protected32, |a| {
        a.mov(dx, 0x3f8)?;
        a.mov(esi, DATA_32)?;
        a.mov(ecx, 5)?;
        a.cld()?;
        a.rep().outsb()?;
        a.mov(ecx, 2)?;
        a.rep().outsd()?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Protected32, code)?;
    bench.poke(DATA, b"hello\x11\x22\x33\x44\x55\x66\x77\x88")?;
    let seat = bench.seat();
    for &byte in b"hello" {
        let write = Exit::PortWrite {
            port: 0x3f8,
            size: 1,
            value: u32::from(byte),
        };
        seat.run_to(Entry::Resume, &write)?;
    }
    for value in [0x4433_2211, 0x8877_6655] {
        seat.run_to(
            Entry::Resume,
            &Exit::PortWrite {
                port: 0x3f8,
                size: 4,
                value,
            },
        )?;
    }
    seat.run_to_end(Entry::Resume)?;
    let state = seat.state()?;
    expect("ecx", state.gpr[1], 0)?;
    expect("esi", state.gpr[6], DATA + 13)
}

pub(super) fn string_input(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Protected32, |a| {
        a.mov(dx, 0x1f0)?;
        a.mov(edi, DATA_32)?;
        a.mov(ecx, 3)?;
        a.cld()?;
        a.rep().insw()?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Protected32, code)?;
    let seat = bench.seat();
    let read = Exit::PortRead {
        port: 0x1f0,
        size: 2,
    };
    seat.run_to(Entry::Resume, &read)?;
    seat.run_to(Entry::CompleteRead(0x1111), &read)?;
    seat.run_to(Entry::CompleteRead(0x2222), &read)?;
    seat.run_to_end(Entry::CompleteRead(0x3333))?;
    let state = seat.state()?;
    bench::expect("ecx", state.gpr[1], 0)?;
    expect("edi", state.gpr[7], DATA + 6)?;
    expect("memory", bench.peek(DATA, 8), 0x3333_2222_1111)
}

const DATA_32: u32 = 0x2_0000;
