//! Two vCPUs on two threads.

use std::thread;

use engine::Entry;
use iced_x86::code_asm::*;
use x86::cpuid::{HostCpuid, feature};
use x86::register::gpr;
use x86::{Activity, SegmentRegister};

use super::{assemble, end};
use crate::bench::{Bench, Make, Seat, Trouble, expect};
use crate::image::{DATA, END_PORT, STACK};
use crate::{Image, Mode};

const ROUNDS: u32 = 300;

/// Two vCPUs in long mode, each with a stack of its own and its number in RDI.
fn two(make: Make<'_>, code: Vec<u8>) -> Result<Bench, Trouble> {
    let image = Image {
        mode: Mode::Long64,
        code,
    };
    let mut bench = Bench::bare(make, 2)?;
    bench.load(&image)?;
    for (id, seat) in (0..).zip(&mut bench.vcpus) {
        let mut state = image.state();
        state.gpr[gpr::RSP] = STACK - id * 0x1000;
        state.gpr[gpr::RDI] = id;
        seat.vcpu.set_state(&state)?;
    }
    Ok(bench)
}

/// Runs all to their ends, each on a thread.
fn run(bench: &mut Bench) -> Result<(), Trouble> {
    let mut seats: Vec<Seat> = bench.vcpus.drain(..).collect();
    let results: Vec<Result<(), Trouble>> = thread::scope(|scope| {
        let threads: Vec<_> = seats
            .iter_mut()
            .map(|seat| scope.spawn(|| seat.run_to_end(Entry::Resume)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(Trouble::Wrong("the engine panicked".into())))
            })
            .collect()
    });
    bench.vcpus = seats;
    results.into_iter().collect()
}

/// The total is right only if no update was lost.
pub(super) fn atomics(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        let mut again = a.create_label();
        let mut retry = a.create_label();
        a.mov(rbx, DATA)?;
        a.mov(ecx, ROUNDS)?;
        a.set_label(&mut again)?;
        a.mov(eax, 1)?;
        a.lock().xadd(dword_ptr(rbx), eax)?;
        a.lock().inc(dword_ptr(rbx + 64))?;
        a.mov(eax, dword_ptr(rbx + 128))?;
        a.set_label(&mut retry)?;
        a.lea(edx, dword_ptr(rax + 3))?;
        a.lock().cmpxchg(dword_ptr(rbx + 128), edx)?;
        a.jnz(retry)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        end(a)
    })?;
    let mut bench = two(make, code)?;
    run(&mut bench)?;
    let total = u64::from(2 * ROUNDS);
    expect("xadd", bench.peek(DATA, 4), total)?;
    expect("inc", bench.peek(DATA + 64, 4), total)?;
    expect("cmpxchg", bench.peek(DATA + 128, 4), 3 * total)
}

/// vCPU 0 calls a function until it answers 1; vCPU 1 patches it to.
pub(super) fn code_modified_by_another(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        let mut patcher = a.create_label();
        let mut again = a.create_label();
        a.mov(rsi, DATA)?;
        a.test(edi, edi)?;
        a.jnz(patcher)?;
        a.set_label(&mut again)?;
        a.call(rsi)?;
        a.inc(dword_ptr(rsi + 0x1000))?;
        a.test(eax, eax)?;
        a.jz(again)?;
        end(a)?;
        a.set_label(&mut patcher)?;
        // Not before the other has run the function some times.
        a.cmp(dword_ptr(rsi + 0x1000), 50)?;
        a.jb(patcher)?;
        a.mov(byte_ptr(rsi + 1), 1)?;
        end(a)
    })?;
    let mut bench = two(make, code)?;
    // mov eax, 0; ret
    bench.poke(DATA, &[0xb8, 0, 0, 0, 0, 0xc3])?;
    run(&mut bench)
}

pub(super) fn compare_exchange_16_bytes(make: Make<'_>) -> Result<(), Trouble> {
    if !HostCpuid::read().table.has(feature::CX16) {
        return Err(Trouble::NotApplicable(
            "the host has no CMPXCHG16B".to_owned(),
        ));
    }
    let code = assemble(Mode::Long64, |a| {
        let mut again = a.create_label();
        let mut retry = a.create_label();
        a.mov(r8, DATA)?;
        a.mov(r9d, ROUNDS)?;
        a.set_label(&mut again)?;
        a.mov(rax, qword_ptr(r8))?;
        a.mov(rdx, qword_ptr(r8 + 8))?;
        a.set_label(&mut retry)?;
        a.lea(rbx, qword_ptr(rax + 1))?;
        a.lea(rcx, qword_ptr(rdx + 2))?;
        a.lock().cmpxchg16b(xmmword_ptr(r8))?;
        a.jnz(retry)?;
        a.dec(r9d)?;
        a.jnz(again)?;
        end(a)
    })?;
    let mut bench = two(make, code)?;
    run(&mut bench)?;
    let total = u64::from(2 * ROUNDS);
    expect(
        "halves",
        (bench.peek(DATA, 8), bench.peek(DATA + 8, 8)),
        (total, 2 * total),
    )
}

/// The first processor sends INIT and SIPI through its local APIC; the second starts in real mode
/// at the page that the SIPI names.
pub(super) fn starts_by_init_and_sipi(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.mov(rbx, LOCAL_APIC)?;
        a.mov(dword_ptr(rbx + ICR_HIGH), 1 << 24)?;
        a.mov(dword_ptr(rbx + ICR_LOW), 0x4500)?;
        a.mov(dword_ptr(rbx + ICR_LOW), 0x4600 | (DATA_32 >> 12))?;
        end(a)
    })?;
    let mut bench = Bench::bare(make, 2)?;
    if !bench.in_kernel() {
        return Err(Trouble::NotApplicable(
            "the machine starts the processors".to_owned(),
        ));
    }
    let image = Image {
        mode: Mode::Long64,
        code,
    };
    bench.load(&image)?;
    // out 0xf4, al
    bench.poke(DATA, &[0xe6, END_PORT])?;
    bench.vcpus[0].vcpu.set_state(&image.state())?;
    run(&mut bench)?;
    let state = bench.vcpus[1].state()?;
    expect("activity", state.activity, Activity::Running)?;
    let code = state.segments[SegmentRegister::Cs as usize];
    expect(
        "cs",
        (u64::from(code.selector), code.base),
        (DATA >> 4, DATA),
    )
}

const LOCAL_APIC: u64 = 0xfee0_0000;
const ICR_LOW: i32 = 0x300;
const ICR_HIGH: i32 = 0x310;
const DATA_32: u32 = 0x2_0000;
