//! Millions of guest instructions a second of a software engine, on an integer loop with memory
//! traffic in 64-bit mode. Prints one line: `mips <figure>`, best of five runs.
//!
//! `cargo run --profile guest -p engine-soft --example mips [translator]`
#![allow(
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a benchmark, not a product"
)]

use std::time::Instant;

use engine::{Engine, Entry, Exit};
use engine_soft::SoftEngine;
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};
use x86::cpuid::CpuidTable;
use x86::register::{cr0, cr4, efer};
use x86::{CpuState, Segment};

/// for (ecx = 4M; ecx; ecx--) { rsi = (rsi * 5 + rax) & mask; table[rsi] += ecx; rax ^= table[rsi + 8] }
const CODE: &[u8] = &[
    0xb9, 0x00, 0x00, 0x40, 0x00, // mov ecx, 4M
    0x31, 0xf6, // xor esi, esi
    0x31, 0xc0, // xor eax, eax
    0x48, 0x8d, 0x34, 0xb6, // l: lea rsi, [rsi + rsi*4]
    0x48, 0x01, 0xc6, // add rsi, rax
    0x81, 0xe6, 0xf8, 0x0f, 0x00, 0x00, // and esi, 0xff8
    0x48, 0x01, 0x8e, 0x00, 0x00, 0x20, 0x00, // add [rsi + 0x200000], rcx
    0x48, 0x33, 0x86, 0x08, 0x00, 0x20, 0x00, // xor rax, [rsi + 0x200008]
    0x48, 0x89, 0x44, 0x24, 0xf8, // mov [rsp - 8], rax
    0xff, 0xc9, // dec ecx
    0x75, 0xdc, // jnz l
    0xf4, // hlt
];

/// That many instructions the loop takes.
const INSTRUCTIONS: u64 = 4 + 8 * 0x40_0000;

fn long_mode_state() -> CpuState {
    let mut state = CpuState::at_reset();
    let flat = Segment {
        selector: 0x10,
        base: 0,
        limit: !0,
        rights: 0xc093,
        unusable: false,
    };
    state.segments = [flat; 6];
    state.segments[1] = Segment {
        selector: 8,
        rights: 0xa09b,
        ..flat
    };
    state.cr0 = cr0::PE | cr0::PG | cr0::ET | cr0::NE | cr0::WP;
    state.cr4 = cr4::PAE;
    state.efer = efer::LME | efer::LMA;
    state.cr3 = 0x1000;
    state.rip = 0x10_0000;
    state.gpr[4] = 0x8_0000;
    state
}

fn main() {
    let memory = GuestMemory::new(&[RamRange {
        base: Gpa(0),
        len: 0x40_0000,
    }])
    .expect("RAM");
    let put = |at: u64, value: u64| {
        memory
            .ram()
            .write_obj(value, GuestAddress(at))
            .expect("RAM")
    };
    put(0x1000, 0x2003);
    put(0x2000, 0x3003);
    put(0x3000, 0x83);
    put(0x3008, 0x20_0083);
    memory
        .ram()
        .write_slice(CODE, GuestAddress(0x10_0000))
        .expect("RAM");
    let engine = match std::env::args().nth(1).as_deref() {
        Some("translator") => SoftEngine::translator(memory),
        _ => SoftEngine::new(memory),
    };
    let mut vcpu = engine
        .create_vcpu(0, &CpuidTable::default())
        .expect("a vCPU");
    let mut best = 0f64;
    for _ in 0..5 {
        vcpu.set_state(&long_mode_state()).expect("a valid state");
        let start = Instant::now();
        let exit = vcpu.run(Entry::Resume).expect("no host failure");
        assert_eq!(exit, Exit::Halted);
        let millions = INSTRUCTIONS as f64 / 1e6;
        best = best.max(millions / start.elapsed().as_secs_f64());
    }
    println!("mips {best:.0}");
}
