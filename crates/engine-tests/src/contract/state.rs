//! CpuState: what a vCPU starts with, and that what goes in comes out.

use engine::{Entry, InterruptModel};
use iced_x86::code_asm::*;
use memory::{Gla, Gpa};
use x86::cpuid::{HostCpuid, feature};
use x86::register::{cr0, cr4, gpr, rflags};
use x86::{Activity, CpuState, Segment, msr};

use super::{assemble, end};
use crate::bench::{Bench, Make, Trouble, cpuid_table, expect, wrong};
use crate::image::{DATA, MMIO, PT};
use crate::{Image, Mode};

/// Spec: Intel SDM Vol. 3, "Processor State After Reset".
pub(super) fn reset_state(make: Make<'_>) -> Result<(), Trouble> {
    let mut bench = Bench::bare(make, 1)?;
    let state = bench.seat().state()?;
    let wanted = CpuState::at_reset();
    expect("rip", state.rip, wanted.rip)?;
    expect("rflags", state.rflags, wanted.rflags)?;
    expect("segments", state.segments, wanted.segments)?;
    expect("cr0", state.cr0, wanted.cr0)?;
    expect("cr2-4", (state.cr2, state.cr3, state.cr4), (0, 0, 0))?;
    expect("efer", state.efer, 0)?;
    expect(
        "tables",
        (state.gdtr, state.idtr),
        (wanted.gdtr, wanted.idtr),
    )?;
    expect("debug registers", state.dr, wanted.dr)?;
    expect("xcr0", state.xcr0, 1)?;
    expect("mxcsr", state.fpu.mxcsr, 0x1f80)?;
    expect("activity", state.activity, Activity::Running)?;
    // EDX tells the processor's signature; the others are zero.
    let mut registers = state.gpr;
    registers[gpr::RDX] = 0;
    expect("registers", registers, [0; 16])
}

/// Processors but the first wait for INIT and SIPI. Where the machine has the APICs, it says so.
pub(super) fn application_processors_wait(make: Make<'_>) -> Result<(), Trouble> {
    let mut bench = Bench::bare(make, 2)?;
    if bench.engine.interrupt_model() == InterruptModel::Machine {
        let why = "the machine starts the processors".to_owned();
        return Err(Trouble::NotApplicable(why));
    }
    expect(
        "activity",
        bench.vcpus[1].state()?.activity,
        Activity::WaitForSipi,
    )
}

/// A small generator of numbers that differ (xorshift), so that swapped fields show.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// An address that long mode takes.
    fn canonical(&mut self) -> u64 {
        self.next() >> 17
    }
}

/// A valid long-mode state in which as much as possible is different from everything else.
fn busy_state(seed: u64) -> CpuState {
    let mut numbers = Numbers(seed);
    let mut state = Image {
        mode: Mode::Long64,
        code: Vec::new(),
    }
    .state();
    state.gpr = std::array::from_fn(|_| numbers.next());
    state.rip = numbers.canonical();
    state.rflags = rflags::FIXED | (numbers.next() & rflags::STATUS) | rflags::DF | rflags::IF;
    state.segments[4].base = numbers.canonical();
    state.segments[5].base = numbers.canonical();
    state.cr2 = numbers.next();
    state.cr0 |= cr0::TS;
    state.cr4 |= cr4::PGE | cr4::DE;
    state.cr8 = 5;
    for register in 0..4 {
        state.dr[register] = numbers.canonical();
    }
    state.fpu.control = 0x27f;
    state.fpu.status = 0x3800;
    state.fpu.tag = 0b1010_0101;
    for st in &mut state.fpu.st {
        // A normal number: the integer bit set.
        st[..10].fill_with(|| numbers.byte());
        st[7] |= 0x80;
    }
    state.fpu.mxcsr = 0x7fa0;
    for ymm in &mut state.fpu.ymm {
        ymm[..16].fill_with(|| numbers.byte());
    }
    for index in [
        msr::LSTAR,
        msr::CSTAR,
        msr::KERNEL_GS_BASE,
        msr::SYSENTER_ESP,
        msr::SYSENTER_EIP,
    ] {
        state.msrs.insert(index, numbers.canonical());
    }
    state.msrs.insert(msr::STAR, 0x0023_0010_0000_0000);
    state.msrs.insert(msr::FMASK, 0x4_7700);
    state.msrs.insert(msr::SYSENTER_CS, 0x10);
    state.msrs.insert(msr::PAT, 0x0007_0406_0007_0406);
    state
}

fn compare(got: &CpuState, wanted: &CpuState) -> Result<(), Trouble> {
    expect("gpr", got.gpr, wanted.gpr)?;
    expect("rip", got.rip, wanted.rip)?;
    expect("rflags", got.rflags, wanted.rflags)?;
    for register in 0..6 {
        expect("segment", got.segments[register], wanted.segments[register])?;
    }
    expect("tr", got.tr, wanted.tr)?;
    expect(
        "gdtr, idtr",
        (got.gdtr, got.idtr),
        (wanted.gdtr, wanted.idtr),
    )?;
    expect("cr0", got.cr0, wanted.cr0)?;
    expect("cr2", got.cr2, wanted.cr2)?;
    expect("cr3", got.cr3, wanted.cr3)?;
    expect("cr4", got.cr4, wanted.cr4)?;
    expect("efer", got.efer, wanted.efer)?;
    expect("xcr0", got.xcr0, wanted.xcr0)?;
    expect("dr", got.dr, wanted.dr)?;
    expect("fpu", &got.fpu, &wanted.fpu)?;
    expect("events", got.events, wanted.events)?;
    expect("activity", got.activity, wanted.activity)?;
    for (index, value) in &wanted.msrs {
        let what = format!("MSR {index:#x}");
        expect(&what, got.msrs.get(index), Some(value))?;
    }
    Ok(())
}

pub(super) fn round_trip(make: Make<'_>) -> Result<(), Trouble> {
    for seed in [1, 0x1234_5678_9abc_def0, u64::MAX] {
        let mut bench = Bench::bare(make, 1)?;
        let wanted = busy_state(seed);
        bench.seat().vcpu.set_state(&wanted)?;
        let got = bench.seat().state()?;
        compare(&got, &wanted)?;
        // What came out goes in again, on another engine's vCPU, and comes out the same.
        let mut other = Bench::bare(make, 1)?;
        other.seat().vcpu.set_state(&got)?;
        let again = other.seat().state()?;
        compare(&again, &got)?;
        expect("apic", again.apic.base, got.apic.base)?;
    }
    Ok(())
}

pub(super) fn round_trip_of_real_mode(make: Make<'_>) -> Result<(), Trouble> {
    let mut bench = Bench::bare(make, 1)?;
    let mut wanted = Image {
        mode: Mode::Real16,
        code: Vec::new(),
    }
    .state();
    for (selector, segment) in (0x1000u16..).step_by(0x111).zip(&mut wanted.segments) {
        *segment = Segment {
            rights: segment.rights,
            ..Segment::real(selector)
        };
    }
    wanted.gpr = std::array::from_fn(|register| register as u64 * 0x1111);
    bench.seat().vcpu.set_state(&wanted)?;
    let got = bench.seat().state()?;
    // Real mode has no task state segment of its own; what is in the register is the engine's.
    let got = CpuState {
        tr: wanted.tr,
        ..got
    };
    compare(&got, &wanted)
}

pub(super) fn cpuid_answers_the_table(make: Make<'_>) -> Result<(), Trouble> {
    let leaves: [(u32, u32); 4] = [(0, 0), (0x8000_0002, 0), (0xb, 1), (0x4000_0000, 0)];
    let code = assemble(Mode::Long64, |a| {
        a.mov(rdi, DATA)?;
        for (leaf, subleaf) in leaves {
            a.mov(eax, leaf)?;
            a.mov(ecx, subleaf)?;
            a.cpuid()?;
            a.mov(dword_ptr(rdi), eax)?;
            a.mov(dword_ptr(rdi + 4), ebx)?;
            a.mov(dword_ptr(rdi + 8), ecx)?;
            a.mov(dword_ptr(rdi + 12), edx)?;
            a.add(rdi, 16)?;
        }
        a.mov(eax, 1)?;
        a.cpuid()?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    bench.seat().run_to_end(Entry::Resume)?;
    let table = cpuid_table(0, 1);
    let mut at = DATA;
    for (leaf, subleaf) in leaves {
        let wanted = table
            .find(leaf, subleaf)
            .ok_or_else(|| Trouble::Wrong(format!("the model has no leaf {leaf:#x}")))?;
        let got = [0, 4, 8, 12].map(|offset| bench.peek(at + offset, 4));
        let wanted = [wanted.eax, wanted.ebx, wanted.ecx, wanted.edx].map(u64::from);
        expect(&format!("leaf {leaf:#x}"), got, wanted)?;
        at += 16;
    }
    // CR4.OSXSAVE is clear, whatever the host's is.
    let features = bench.seat().state()?.gpr[gpr::RCX];
    expect("OSXSAVE", features & (1 << 27), 0)
}

pub(super) fn translate_follows_page_tables(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, end)?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    bench.poke(PT + (DATA >> 12) * 8, &(0x3_0000u64 | 3).to_le_bytes())?;
    bench.poke(PT + ((DATA >> 12) + 1) * 8, &0u64.to_le_bytes())?;
    let vcpu = &mut bench.seat().vcpu;
    expect(
        "mapped elsewhere",
        vcpu.translate(Gla(DATA + 0x123)),
        Some(Gpa(0x3_0123)),
    )?;
    expect("not mapped", vcpu.translate(Gla(DATA + 0x1000)), None)?;
    let large = vcpu.translate(Gla(MMIO + 0x12_3456));
    expect("large page", large, Some(Gpa(MMIO + 0x12_3456)))?;
    expect("no table", vcpu.translate(Gla(1 << 40)), None)?;
    let entry = bench.peek(PT + (DATA >> 12) * 8, 8);
    expect("accessed and dirty bits stay", entry, 0x3_0003)
}

pub(super) fn devices_round_trip(make: Make<'_>) -> Result<(), Trouble> {
    let bench = Bench::bare(make, 1)?;
    let saved = bench.engine.save_devices()?;
    if bench.in_kernel() {
        expect("empty", saved.is_empty(), false)?;
        let refused = bench.engine.restore_devices(&[0xff; 7]).is_err();
        expect("rubbish is refused", refused, true)?;
    }
    let other = Bench::bare(make, 1)?;
    Ok(other.engine.restore_devices(&saved)?)
}

/// AVX registers too, where the host has them.
pub(super) fn round_trip_of_avx(make: Make<'_>) -> Result<(), Trouble> {
    if !HostCpuid::read().table.has(feature::AVX) {
        return Err(Trouble::NotApplicable("the host has no AVX".to_owned()));
    }
    let mut bench = Bench::bare(make, 1)?;
    let mut wanted = busy_state(77);
    let mut numbers = Numbers(99);
    for ymm in &mut wanted.fpu.ymm {
        ymm.fill_with(|| numbers.byte());
    }
    bench.seat().vcpu.set_state(&wanted)?;
    expect("fpu", &bench.seat().state()?.fpu, &wanted.fpu)
}

/// The guest's TSC goes on from where the state says.
pub(super) fn time_stamp_counter(make: Make<'_>) -> Result<(), Trouble> {
    let code = assemble(Mode::Long64, |a| {
        a.rdtsc()?;
        end(a)
    })?;
    let mut bench = Bench::with(make, Mode::Long64, code)?;
    let mut state = bench.seat().state()?;
    let begin = 1 << 40;
    state.tsc = begin;
    bench.seat().vcpu.set_state(&state)?;
    bench.seat().run_to_end(Entry::Resume)?;
    let state = bench.seat().state()?;
    let read = state.gpr[gpr::RDX] << 32 | state.gpr[gpr::RAX];
    // Some ten seconds.
    let in_time = begin..begin + (1 << 35);
    let (first, second) = (read, state.tsc);
    if in_time.contains(&first) && in_time.contains(&second) && first <= second {
        return Ok(());
    }
    wrong(format!(
        "began at {begin:#x}, the guest read {first:#x}, then it was {second:#x}"
    ))
}
