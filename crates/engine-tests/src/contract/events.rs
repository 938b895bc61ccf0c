//! Halting, kicks, interrupts, NMIs, single steps, shutdown.

use std::thread;
use std::time::Duration;

use engine::{Entry, Exit, MsiMessage};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use x86::exception::vector;
use x86::register::{dr6, gpr, rflags};
use x86::{Activity, DescriptorTable, Injected};

use super::{assemble, end};
use crate::Mode;
use crate::bench::{Bench, Make, Trouble, expect};
use crate::image::{CODE, DATA, END_PORT};

/// First vector of the master PIC, as [`set_up_pic`] says.
const PIC_BASE: u8 = 0x40;
/// The interrupt line that tests raise.
const LINE: u8 = 5;

/// Kicks a vCPU a little later from elsewhere.
fn kick_soon(bench: &mut Bench) -> thread::JoinHandle<()> {
    let kick = bench.seat().vcpu.kick();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        kick.kick();
    })
}

pub(super) fn halt(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.hlt()?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    if bench.in_kernel() {
        // The kernel waits itself, and comes back for a kick.
        let kicker = kick_soon(&mut bench);
        let exit = bench.seat().run(Entry::Resume);
        let _ = kicker.join();
        expect("exit", exit?, Exit::Interrupted)?;
    } else {
        bench.seat().run_to(Entry::Resume, &Exit::Halted)?;
    }
    expect("rip", bench.seat().state()?.rip, CODE + 1)
}

/// A halted vCPU says so in its state, and one that is loaded halted waits.
pub(super) fn halt_is_state(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.hlt()?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code.clone())?;
    if !bench.in_kernel() {
        let why = "the machine keeps a halted vCPU waiting".to_owned();
        return Err(Trouble::NotApplicable(why));
    }
    let kicker = kick_soon(&mut bench);
    let first = bench.seat().run(Entry::Resume);
    let _ = kicker.join();
    first?;
    let state = bench.seat().state()?;
    expect("activity", state.activity, Activity::Halted)?;
    let mut other = Bench::with(make, Mode::Long64, code)?;
    other.seat().vcpu.set_state(&state)?;
    let kicker = kick_soon(&mut other);
    let second = other.seat().run(Entry::Resume);
    let _ = kicker.join();
    expect("exit", second?, Exit::Interrupted)?;
    expect("rip", other.seat().state()?.rip, CODE + 1)
}

pub(super) fn kick_before_run(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, end)?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    bench.seat().vcpu.kick().kick();
    bench.seat().run_to(Entry::Resume, &Exit::Interrupted)?;
    // Once only.
    bench.seat().run_to_end(Entry::Resume)
}

pub(super) fn kick_during_run(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.inc(rbx)?;
        a.jmp(again)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    for _ in 0..3 {
        let before = bench.seat().state()?.gpr[gpr::RBX];
        let kicker = kick_soon(&mut bench);
        let exit = bench.seat().run(Entry::Resume);
        let _ = kicker.join();
        expect("exit", exit?, Exit::Interrupted)?;
        let after = bench.seat().state()?.gpr[gpr::RBX];
        expect("the guest ran", after > before, true)?;
    }
    Ok(())
}

/// A kick while the machine deals with an exit is not lost, and the access is finished first.
pub(super) fn kick_survives_an_exit(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Protected32, |a| {
        a.in_(al, 0x60)?;
        a.nop()?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Protected32, code)?;
    let seat = bench.seat();
    seat.run_to(
        Entry::Resume,
        &Exit::PortRead {
            port: 0x60,
            size: 1,
        },
    )?;
    seat.vcpu.kick().kick();
    seat.run_to(Entry::CompleteRead(0x1c), &Exit::Interrupted)?;
    let state = seat.state()?;
    expect("al", state.gpr[gpr::RAX], 0x1c)?;
    expect("rip", state.rip, CODE + 2)?;
    seat.run_to_end(Entry::Resume)
}

pub(super) fn triple_fault(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.ud2()?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let mut state = bench.seat().state()?;
    state.idtr = DescriptorTable {
        base: DATA,
        limit: 0,
    };
    bench.seat().vcpu.set_state(&state)?;
    bench.seat().run_to(Entry::Resume, &Exit::TripleFault)
}

/// Programs the master PIC: vectors from [`PIC_BASE`], automatic end of interrupt, only [`LINE`].
/// Where the machine has the PICs, these are exits that nobody answers.
fn set_up_pic(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let words = [
        (0x20, 0x11),
        (0x21, u32::from(PIC_BASE)),
        (0x21, 4),
        (0x21, 3),
    ];
    for (port, value) in words.into_iter().chain([(0x21, u32::from(!(1u8 << LINE)))]) {
        a.mov(al, value)?;
        a.out(port, al)?;
    }
    Ok(())
}

/// Runs over the PIC's programming to the next other exit.
fn run_past_pic(bench: &mut Bench) -> Result<Exit, Trouble> {
    loop {
        match bench.seat().run(Entry::Resume)? {
            Exit::PortWrite {
                port: 0x20 | 0x21, ..
            } => {}
            exit => return Ok(exit),
        }
    }
}

fn at_end(exit: &Exit) -> bool {
    matches!(exit, Exit::PortWrite { port, .. } if *port == u16::from(END_PORT))
}

/// Raises the line, and runs to the handler: the vector.
fn interrupt(bench: &mut Bench) -> Result<u8, Trouble> {
    if bench.in_kernel() {
        bench.engine.set_gsi(u32::from(LINE), true)?;
        return bench.seat().run_to_trap(Entry::Resume);
    }
    bench.seat().vcpu.want_interrupt_window(true);
    bench.seat().run_to(Entry::Resume, &Exit::InterruptWindow)?;
    bench.seat().vcpu.want_interrupt_window(false);
    bench.seat().run_to_trap(Entry::Inject(PIC_BASE + LINE))
}

/// The guest enables interrupts and spins until the handler's return finds RBX changed by us.
fn interrupt_in(make: Make<'_>, mode: Mode) -> Result<(), Trouble> {
    let code = assemble(mode, |a| {
        let mut again = a.create_label();
        set_up_pic(a)?;
        end(a)?;
        a.sti()?;
        a.set_label(&mut again)?;
        a.inc(bx)?;
        a.jmp(again)
    })?;
    let mut bench = Bench::with(make, mode, code)?;
    let exit = run_past_pic(&mut bench)?;
    expect("end of set-up", at_end(&exit), true)?;
    expect("vector", interrupt(&mut bench)?, PIC_BASE + LINE)?;
    let state = bench.seat().state()?;
    expect(
        "interrupts off in the handler",
        state.rflags & rflags::IF,
        0,
    )?;
    // The handler's IRET brings them back.
    if bench.in_kernel() {
        bench.engine.set_gsi(u32::from(LINE), false)?;
    }
    let kicker = kick_soon(&mut bench);
    let exit = bench.seat().run(Entry::Resume);
    let _ = kicker.join();
    expect("exit", exit?, Exit::Interrupted)?;
    let state = bench.seat().state()?;
    expect("interrupts on again", state.rflags & rflags::IF, rflags::IF)
}

pub(super) fn interrupt_in_real_mode(make: Make<'_>) -> Result<(), Trouble> {
    interrupt_in(make, Mode::Real16)
}

pub(super) fn interrupt_in_protected_mode(make: Make<'_>) -> Result<(), Trouble> {
    interrupt_in(make, Mode::Protected32)
}

pub(super) fn interrupt_in_long_mode(make: Make<'_>) -> Result<(), Trouble> {
    interrupt_in(make, Mode::Long64)
}

/// With controllers of its own, the engine takes messages.
pub(super) fn message_signalled(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        // The spurious interrupt vector register: the local APIC on.
        a.mov(rbx, 0xfee0_00f0_u64)?;
        a.mov(dword_ptr(rbx), 0x1ff)?;
        end(a)?;
        a.sti()?;
        spin(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    if !bench.in_kernel() {
        let message = MsiMessage {
            address: 0xfee0_0000,
            data: 0x51,
        };
        expect("refused", bench.engine.send_msi(message).is_err(), true)?;
        return Err(Trouble::NotApplicable(
            "the machine has the local APIC".to_owned(),
        ));
    }
    bench.seat().run_to_end(Entry::Resume)?;
    bench.engine.send_msi(MsiMessage {
        address: 0xfee0_0000,
        data: 0x51,
    })?;
    expect("vector", bench.seat().run_to_trap(Entry::Resume)?, 0x51)
}

/// Counts for a while, then ends: room for an event to come. (Hosts that emulate ring 0 look for
/// events between some instructions only.)
fn spin(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.mov(ebx, 10_000)?;
    a.set_label(&mut again)?;
    a.dec(ebx)?;
    a.jnz(again)?;
    end(a)
}

pub(super) fn interrupts_wait_for_the_flag(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Protected32, |a| {
        set_up_pic(a)?;
        end(a)?;
        a.nop()?;
        end(a)?;
        a.sti()?;
        spin(a)
    })?;
    let mut bench = Bench::with(make, Mode::Protected32, code)?;
    run_past_pic(&mut bench)?;
    if bench.in_kernel() {
        bench.engine.set_gsi(u32::from(LINE), true)?;
    } else {
        bench.seat().vcpu.want_interrupt_window(true);
    }
    bench.seat().run_to_end(Entry::Resume)?;
    expect("vector", interrupt(&mut bench)?, PIC_BASE + LINE)
}

/// STI lets the next instruction through: here CLI, so nothing comes; then HLT, which is then over.
pub(super) fn sti_holds_off_one_instruction(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Protected32, |a| {
        set_up_pic(a)?;
        end(a)?;
        a.sti()?;
        a.cli()?;
        end(a)?;
        a.sti()?;
        a.hlt()?;
        end(a)
    })?;
    let hlt_end = CODE + code.len() as u64 - 2;
    let mut bench = Bench::with(make, Mode::Protected32, code)?;
    run_past_pic(&mut bench)?;
    if bench.in_kernel() {
        bench.engine.set_gsi(u32::from(LINE), true)?;
    } else {
        bench.seat().vcpu.want_interrupt_window(true);
    }
    bench.seat().run_to_end(Entry::Resume)?;
    if bench.in_kernel() {
        expect(
            "vector",
            bench.seat().run_to_trap(Entry::Resume)?,
            PIC_BASE + LINE,
        )?;
    } else {
        // With an interrupt that can be taken, the engine may report the halt first or not.
        let mut exit = bench.seat().run(Entry::Resume)?;
        if exit == Exit::Halted {
            exit = bench.seat().run(Entry::Resume)?;
        }
        expect("exit", exit, Exit::InterruptWindow)?;
        bench.seat().vcpu.want_interrupt_window(false);
        let trap = bench.seat().run_to_trap(Entry::Inject(PIC_BASE + LINE))?;
        expect("vector", trap, PIC_BASE + LINE)?;
    }
    let frame = bench.seat().state()?.gpr[gpr::RSP] + 4;
    expect("eip pushed: after the HLT", bench.peek(frame, 4), hlt_end)
}

pub(super) fn nmi(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.nop()?;
        a.nop()?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let seat = bench.seat();
    seat.vcpu.inject_nmi()?;
    // Interrupts are off: an NMI does not care.
    expect("vector", seat.run_to_trap(Entry::Resume)?, vector::NMI)?;
    expect(
        "masked in the handler",
        seat.state()?.events.nmi_masked,
        true,
    )?;
    seat.run_to_end(Entry::Resume)?;
    expect("masked after IRET", seat.state()?.events.nmi_masked, false)
}

/// A state may have an event on its way in, which another engine had no time to deliver. It comes first, and once.
pub(super) fn unfinished_deliveries_are_finished(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.nop()?;
        end(a)
    })?;
    let events = [
        (PIC_BASE + LINE, None),
        (vector::UD, None),
        (vector::GP, Some(0x18)),
        (vector::NMI, None),
    ];
    for (vector, error_code) in events {
        let mut bench = Bench::with(make, Mode::Long64, code.clone())?;
        let mut state = bench.seat().state()?;
        state.events.nmi_masked = vector == vector::NMI;
        state.events.injected = Some(Injected {
            vector,
            error_code,
            software: false,
        });
        bench.seat().vcpu.set_state(&state)?;
        let seat = bench.seat();
        expect("vector", seat.run_to_trap(Entry::Resume)?, vector)?;
        let state = seat.state()?;
        expect("nothing on its way", state.events.injected, None)?;
        let pushed = state.gpr[gpr::RSP] + if error_code.is_some() { 16 } else { 8 };
        expect("rip pushed", bench.peek(pushed, 8), CODE)?;
        bench.seat().run_to_end(Entry::Resume)?;
    }
    Ok(())
}

pub(super) fn nmi_waits_for_iret(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, spin)?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let seat = bench.seat();
    seat.vcpu.inject_nmi()?;
    expect("vector", seat.run_to_trap(Entry::Resume)?, vector::NMI)?;
    let stack = seat.state()?.gpr[gpr::RSP];
    seat.vcpu.inject_nmi()?;
    expect("vector", seat.run_to_trap(Entry::Resume)?, vector::NMI)?;
    // Nested it would lie deeper.
    expect("stack of the second", seat.state()?.gpr[gpr::RSP], stack)?;
    seat.run_to_end(Entry::Resume)
}

/// The first is taken before the second comes, as far as a guest can tell; a third is lost.
pub(super) fn nmis_at_once_are_two(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, spin)?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let seat = bench.seat();
    for _ in 0..3 {
        seat.vcpu.inject_nmi()?;
    }
    expect("vector", seat.run_to_trap(Entry::Resume)?, vector::NMI)?;
    expect("vector", seat.run_to_trap(Entry::Resume)?, vector::NMI)?;
    seat.run_to_end(Entry::Resume)
}

pub(super) fn software_interrupt(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.int(0x77)?;
        a.int3()?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let seat = bench.seat();
    expect("vector", seat.run_to_trap(Entry::Resume)?, 0x77)?;
    expect("vector", seat.run_to_trap(Entry::Resume)?, vector::BP)?;
    seat.run_to_end(Entry::Resume)
}

/// An instruction that the machine completes is one step, not two.
pub(super) fn single_step_over_input(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.in_(al, 0x71)?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let mut state = bench.seat().state()?;
    state.rflags |= rflags::TF;
    bench.seat().vcpu.set_state(&state)?;
    let read = Exit::PortRead {
        port: 0x71,
        size: 1,
    };
    bench.seat().run_to(Entry::Resume, &read)?;
    let seat = bench.seat();
    let trap = seat.run_to_trap(Entry::CompleteRead(0x5a))?;
    expect("vector", trap, vector::DB)?;
    let state = bench.seat().state()?;
    let frame = state.gpr[gpr::RSP] + 8;
    expect("rip pushed", bench.peek(frame, 8), CODE + 2)
}

pub(super) fn single_step(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.nop()?;
        a.inc(ebx)?;
        a.nop()?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let mut state = bench.seat().state()?;
    state.rflags |= rflags::TF;
    bench.seat().vcpu.set_state(&state)?;
    for rip in [CODE + 1, CODE + 3, CODE + 4] {
        expect(
            "vector",
            bench.seat().run_to_trap(Entry::Resume)?,
            vector::DB,
        )?;
        let state = bench.seat().state()?;
        let frame = state.gpr[gpr::RSP] + 8;
        expect("rip pushed", bench.peek(frame, 8), rip)?;
        expect("BS in DR6", state.dr[4] & dr6::BS, dr6::BS)?;
        expect("TF in the handler", state.rflags & rflags::TF, 0)?;
    }
    Ok(())
}
