//! The border between Rust and translated code: ways in, ways out, and handlers called from inside.
//!
//! Inside, GS is the vCPU's address, the guest's registers are where `registers` says, and the stack
//! is the caller's, eight bytes off a multiple of sixteen.

use std::arch::is_x86_feature_detected;
use std::cell::Cell;
use std::mem::offset_of;
use std::panic::{AssertUnwindSafe, catch_unwind};

use engine::Place;
use x86::register::rflags;

use super::assembler::{Assembler, condition};
use super::emitter::Way as Access;
use super::fast_calls::{write_syscall, write_sysret};
use super::jumps_raw;
use super::mode::Mode;
use super::native::{self, MXCSR_MASKED};
use super::refill::{write_range, write_refill, write_split_read};
use super::registers::{Number, RAX, resident};
use super::unit::{Link, Site};
use super::x87_state::{self, X87Stubs};
use crate::cpu::{Cpu, RIP_SLOT, attention};
use crate::interp::op::{Op, Stop};
use crate::interp::system::deliver;
use crate::mmu::set;

/// What translated code returns.
mod code {
    /// Not returned: goes on in the unit.
    pub(super) const GO_ON: u64 = 0;
    pub(super) const NEXT: u64 = 1;
    pub(super) const INTERPRET: u64 = 2;
    pub(super) const LINK: u64 = 3;
    pub(super) const STOPPED: u64 = 4;
    pub(super) const PANIC: u64 = 5;
    /// Not returned: from here on it is the address of code to go on in.
    pub(super) const ADDRESSES: u64 = 0x1000;
}

/// What runs the handler at a site.
type RunSite = unsafe extern "sysv64" fn(*mut Cpu, *const Site) -> u64;

/// How translated code was left.
#[derive(Debug)]
pub(super) enum Way {
    Next,
    Interpret,
    Link(Link),
    /// The handler of this op did; the unit that the op's start counts from begins at this page offset.
    Stopped(Stop, u16, Op),
}

/// Addresses of the code that every vCPU's memory begins with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stubs {
    enter: u64,
    /// Runs the handler of the site in RAX and comes back, or leaves.
    pub(super) handler: u64,
    /// The same, and comes back with the status flags in EFLAGS.
    pub(super) handler_with_flags: u64,
    /// Leaves with RIP in RAX.
    pub(super) leave_at: u64,
    /// Looks for the address in RAX in its second slot of the table of jumps, by set, or leaves there.
    pub(super) further: [u64; 3],
    /// Leaves at the link in RAX.
    pub(super) leave_link: u64,
    refills: [[u64; 3]; 2],
    /// What accesses that are alone go on at, by way, set and the logarithm of their size.
    misses: [[[u64; SIZES]; 3]; 2],
    /// Of many bytes at once.
    ranges: [[u64; 3]; 2],
    /// Enter the kernel, by the set of its accesses; not that of user mode.
    pub(super) syscalls: [u64; 3],
    pub(super) sysret: u64,
    /// Loads the vector registers; RAX is the unit's page offset, should they not be loadable.
    pub(super) load_vectors: u64,
    pub(super) x87: X87Stubs,
    run: RunSite,
    /// The host can load the x87 state without other registers.
    pub(super) has_x87: bool,
}

/// Sizes of accesses that have stubs of their own: 1 to [`native::LONGEST_SPLIT`].
const SIZES: usize = native::LONGEST_SPLIT.trailing_zeros() as usize + 1;

const PUSH: [u8; 10] = [0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57];
const POP_AND_RETURN: [u8; 11] = [
    0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3,
];

impl Stubs {
    /// Looks in the second-level TLB: RAX is a linear address, R13 the size of the access. Answers
    /// the host's address in RAX, and "equal" when there is none.
    pub(super) fn refill(&self, way: Access, set: usize) -> u64 {
        self.refills[way as usize][set]
    }

    /// The same for an access that is alone, with R13 and RAX as the first level left them, if there is such
    /// a stub. When it is a read that crosses into the next page, the address answered is that of a copy.
    pub(super) fn miss(&self, way: Access, set: usize, size: u32, alone: bool) -> Option<u64> {
        let known = alone && size.is_power_of_two() && size <= native::LONGEST_SPLIT;
        known.then(|| self.misses[way as usize][set][size.trailing_zeros() as usize])
    }

    /// Looks in both levels of the TLB: RAX is a linear address, R13 how many bytes, at most a page's. Answers
    /// as [`Stubs::refill`] does.
    pub(super) fn range(&self, way: Access, set: usize) -> u64 {
        self.ranges[way as usize][set]
    }

    /// Writes them all. `watched` as in `Translator::new`.
    pub(super) fn write(asm: &mut Assembler, watched: bool) -> Stubs {
        let avx = is_x86_feature_detected!("avx");
        let save_vectors = asm.here();
        write_save_vectors(asm, avx);
        let restore_vectors = asm.here();
        write_load_vectors(asm, avx);
        let mut x87 = X87Stubs::write(asm);

        // RAX is what to return; the guest's registers are in the vCPU already.
        let leave_saved = asm.here();
        asm.raw(&POP_AND_RETURN);
        let leave = asm.here();
        store_registers(asm);
        asm.test_byte(native::VECTORS_LOADED);
        let none = asm.jump_if(condition::EQUAL);
        asm.call(save_vectors);
        asm.land(none);
        x87.save_if_loaded(asm);
        asm.jump_to(leave_saved);

        let leave_at = asm.here();
        asm.store(native::RIP, RAX);
        asm.set_rax(code::NEXT);
        asm.jump_to(leave);
        let further = [set::USER, set::SUPERVISOR, set::SUPERVISOR_OPEN].map(|set| {
            let stub = asm.here();
            write_further(asm, set, leave_at);
            stub
        });
        let leave_link = asm.here();
        asm.store(native::LEFT_AT, RAX);
        asm.set_rax(code::LINK);
        asm.jump_to(leave);
        let interpret = asm.here();
        write_interpret(asm, leave);
        let load_vectors = asm.here();
        write_checked_load(asm, restore_vectors, interpret);
        x87.write_checked_load(asm, interpret);

        let enter = asm.here();
        asm.raw(&PUSH);
        load_registers(asm);
        asm.jump_from(native::ENTRY);

        let handler = asm.here();
        let vectors = (save_vectors, restore_vectors);
        write_handler(asm, vectors, &x87, leave_saved, false);
        let handler_with_flags = asm.here();
        write_handler(asm, vectors, &x87, leave_saved, true);
        let (mut refills, mut ranges) = ([[0; 3]; 2], [[0; 3]; 2]);
        let mut misses = [[[0; SIZES]; 3]; 2];
        for (set, way) in (0..3).flat_map(|set| [(set, Access::Read), (set, Access::Write)]) {
            let refill = asm.here();
            write_refill(asm, way, set);
            let alone = match way {
                Access::Read => asm.here(),
                Access::Write => refill,
            };
            if way == Access::Read {
                write_split_read(asm, refill);
            }
            refills[way as usize][set] = refill;
            for (log, miss) in misses[way as usize][set].iter_mut().enumerate() {
                *miss = asm.here();
                // The linear address again.
                asm.add_slot(native::tlb_tag(way, set));
                asm.set_r13(1 << log);
                asm.jump_to(alone);
            }
            ranges[way as usize][set] = asm.here();
            write_range(asm, way, set, refill);
        }
        let mut syscalls = [leave_at; 3];
        for set in [set::SUPERVISOR, set::SUPERVISOR_OPEN] {
            syscalls[set] = asm.here();
            write_syscall(asm, set, further[set]);
        }
        let sysret = asm.here();
        write_sysret(asm, further[set::USER]);
        Stubs {
            enter,
            syscalls,
            sysret,
            refills,
            misses,
            ranges,
            handler,
            handler_with_flags,
            leave_at,
            further,
            leave_link,
            load_vectors,
            x87,
            run: if watched { run_watched } else { run_site },
            has_x87: is_x86_feature_detected!("xsave"),
        }
    }
}

/// Flags are in memory.
fn write_further(asm: &mut Assembler, set: usize, leave_at: u64) {
    asm.hash_rax((set == set::USER).then_some(native::SALT));
    asm.mask_r13(jumps_raw::OFFSET_MASK);
    // xor r13d, …
    asm.raw(&[0x41, 0x83, 0xf5, jumps_raw::OTHER_WAY]);
    asm.compare_slot(native::jump_tag(set));
    let unknown = asm.jump_if(condition::NOT_EQUAL);
    asm.land_at(unknown, leave_at);
    asm.jump_slot(native::jump_code(set));
}

fn store_registers(asm: &mut Assembler) {
    for (guest, host) in resident() {
        asm.store(native::gpr(guest), host);
    }
}

fn load_registers(asm: &mut Assembler) {
    for (guest, host) in resident() {
        asm.load(host, native::gpr(guest));
    }
}

/// `vmovups` (or `movups`) between register `n` and the vCPU; 10h loads, 11h stores.
fn move_vector(asm: &mut Assembler, opcode: u8, n: usize, avx: bool) {
    let high = n >= 8;
    asm.raw(&[0x65]);
    match (avx, high) {
        (true, false) => asm.raw(&[0xc5, 0xfc]),
        (true, true) => asm.raw(&[0xc5, 0x7c]),
        (false, false) => asm.raw(&[0x0f]),
        (false, true) => asm.raw(&[0x44, 0x0f]),
    }
    asm.raw(&[opcode, 0x04 | (n as u8 & 7) << 3, 0x25]);
    asm.raw(&native::vector(n).to_le_bytes());
}

/// LDMXCSR (`extension` 2) or STMXCSR (3).
fn mxcsr(asm: &mut Assembler, extension: u8, disp: u32) {
    asm.raw(&[0x65, 0x0f, 0xae, 0x04 | extension << 3, 0x25]);
    asm.raw(&disp.to_le_bytes());
}

/// The guest's vector state into the vCPU, the host's MXCSR back. Keeps general registers.
fn write_save_vectors(asm: &mut Assembler, avx: bool) {
    for n in 0..16 {
        move_vector(asm, 0x11, n, avx);
    }
    mxcsr(asm, 3, native::MXCSR);
    mxcsr(asm, 2, native::HOST_MXCSR);
    if avx {
        asm.raw(&[0xc5, 0xf8, 0x77]);
    }
    asm.set_byte(native::VECTORS_LOADED, 0);
    asm.raw(&[0xc3]);
}

/// The vector state into the host's registers. Where all upper halves are zero they are not touched:
/// a processor whose upper halves are in use runs every switch between legacy SSE and VEX
/// instructions a hundred times slower. Keeps general registers but not EFLAGS.
fn write_load_vectors(asm: &mut Assembler, avx: bool) {
    mxcsr(asm, 2, native::MXCSR);
    asm.set_byte(native::VECTORS_LOADED, 1);
    if !avx {
        for n in 0..16 {
            move_vector(asm, 0x10, n, false);
        }
        asm.raw(&[0xc3]);
        return;
    }
    upper_half(asm, 0x10, 0);
    for n in 1..16 {
        upper_half(asm, 0x56, n);
    }
    // vptest xmm0, xmm0
    asm.raw(&[0xc4, 0xe2, 0x79, 0x17, 0xc0]);
    let in_use = asm.jump_if(condition::NOT_EQUAL);
    for n in 0..16 {
        low_half(asm, n);
    }
    asm.raw(&[0xc3]);
    asm.land(in_use);
    for n in 0..16 {
        move_vector(asm, 0x10, n, true);
    }
    asm.raw(&[0xc3]);
}

/// `vmovups xmm0, upper half of n` (10h) or `vorps xmm0, xmm0, upper half of n` (56h).
fn upper_half(asm: &mut Assembler, opcode: u8, n: usize) {
    asm.raw(&[0x65, 0xc5, 0xf8, opcode, 0x04, 0x25]);
    asm.raw(&(native::vector(n) + 16).to_le_bytes());
}

/// `vmovups xmm_n, low half of n`, which clears the upper half.
fn low_half(asm: &mut Assembler, n: usize) {
    let high = if n >= 8 { 0x78 } else { 0xf8 };
    asm.raw(&[0x65, 0xc5, high, 0x10, 0x04 | (n as u8 & 7) << 3, 0x25]);
    asm.raw(&native::vector(n).to_le_bytes());
}

/// Loads the vector state if all exceptions are masked, as the host must run; otherwise leaves for
/// the interpreter at the page offset in RAX.
fn write_checked_load(asm: &mut Assembler, restore_vectors: u64, interpret: u64) {
    // add rax, page base; mov [rip], rax
    asm.add_from(RAX, native::PAGE_BASE);
    asm.store(native::RIP, RAX);
    // mov eax, gs:[MXCSR]; and eax, 1f80h; cmp eax, 1f80h
    asm.raw(&[0x65, 0x8b, 0x04, 0x25]);
    asm.raw(&native::MXCSR.to_le_bytes());
    asm.raw(&[0x25]);
    asm.raw(&MXCSR_MASKED.to_le_bytes());
    asm.raw(&[0x3d]);
    asm.raw(&MXCSR_MASKED.to_le_bytes());
    let unmasked = asm.jump_if(condition::NOT_EQUAL);
    asm.land_at(unmasked, interpret);
    asm.jump_to(restore_vectors);
}

/// Leaves for the interpreter from inside a call, RIP being right.
fn write_interpret(asm: &mut Assembler, leave: u64) {
    // The return address is not needed: add rsp, 8
    asm.raw(&[0x48, 0x83, 0xc4, 8]);
    asm.set_rax(code::INTERPRET);
    asm.jump_to(leave);
}

/// The site is in RAX and the flags in memory. `vectors` are the stubs that save and restore them.
fn write_handler(
    asm: &mut Assembler,
    vectors: (u64, u64),
    x87: &X87Stubs,
    leave_saved: u64,
    with_flags: bool,
) {
    let (save, restore) = vectors;
    store_registers(asm);
    // push rax, to keep the site across the call; sub rsp, 8: then the stack is off again.
    asm.raw(&[0x50, 0x48, 0x83, 0xec, 0x08]);
    asm.copy(RSI, RAX);
    asm.load(RDI, native::CPU);
    asm.test_byte(native::VECTORS_LOADED);
    let none = asm.jump_if(condition::EQUAL);
    asm.call(save);
    asm.land(none);
    x87.save_if_loaded(asm);
    asm.load(RAX, native::RUN_SITE);
    // call rax; test rax, rax
    asm.raw(&[0xff, 0xd0, 0x48, 0x85, 0xc0]);
    let stopped = asm.jump_if(condition::NOT_EQUAL);
    // mov rax, [rsp + 8]; cmp byte [rax + …], 0
    asm.raw(&[0x48, 0x8b, 0x44, 0x24, 0x08]);
    asm.raw(&[0x80, 0x78, offset_of!(Site, vectors) as u8, 0]);
    let none = asm.jump_if(condition::EQUAL);
    asm.call(restore);
    asm.land(none);
    x87.restore_if_needed(asm);
    asm.raw(&[0x48, 0x83, 0xc4, 0x10]);
    load_registers(asm);
    if with_flags {
        asm.restore_flags(native::STATUS);
    }
    asm.raw(&[0xc3]);
    asm.land(stopped);
    // add rsp, 24: the padding, the site and the return address
    asm.raw(&[0x48, 0x83, 0xc4, 24]);
    asm.compare_rax(code::ADDRESSES as u32);
    let elsewhere = asm.jump_if(condition::ABOVE);
    asm.jump_to(leave_saved);
    asm.land(elsewhere);
    // The unit there loads the vector registers if it needs them.
    asm.store(native::ENTRY, RAX);
    load_registers(asm);
    asm.load(RAX, native::RIP);
    asm.jump_from(native::ENTRY);
}

/// Arguments of the platform's calls.
const RDI: Number = 7;
const RSI: Number = 6;

/// Runs the handler at a site. Zero: go on after the instruction.
///
/// # Safety
/// `cpu` is the vCPU whose code calls, which nobody else uses meanwhile; `site` is one of its live
/// units'.
unsafe extern "sysv64" fn run_site(cpu: *mut Cpu, site: *const Site) -> u64 {
    // SAFETY: the caller's promise.
    let (cpu, site) = unsafe { (&mut *cpu, &*site) };
    match catch_unwind(AssertUnwindSafe(|| run(cpu, site))) {
        Ok(code) => code,
        Err(panic) => {
            cpu.native.panic = Some(panic);
            code::PANIC
        }
    }
}

/// As [`run_site`], and says where it is meanwhile.
///
/// # Safety
/// As for [`run_site`].
unsafe extern "sysv64" fn run_watched(cpu: *mut Cpu, site: *const Site) -> u64 {
    // SAFETY: the caller's promise; this use of the vCPU ends with the statement, as the next does.
    unsafe { &*cpu }.native.whereabouts.set(Place::Handler);
    // SAFETY: the caller's promise.
    let code = unsafe { run_site(cpu, site) };
    // SAFETY: likewise.
    unsafe { &*cpu }.native.whereabouts.set(Place::Guest);
    code
}

fn run(cpu: &mut Cpu, site: &Site) -> u64 {
    let page = cpu.native.page_base;
    let (op, handler) = (&site.op, site.handler.handler());
    cpu.gpr[usize::from(RIP_SLOT)] = page.wrapping_add(u64::from(site.unit));
    cpu.rip = page.wrapping_add(u64::from(site.after)) & site.mode.ip_mask();
    cpu.limit = u32::MAX;
    cpu.native.calls.count(site);
    let mut result = handler(cpu, op);
    while result == Err(Stop::Repeat) && cpu.limit != 0 && may_go_on(cpu) {
        cpu.limit = u32::MAX;
        result = handler(cpu, op);
    }
    match result {
        Ok(()) => {
            let remapped = cpu.mmu.tell_jumps(&mut cpu.native.jumps, page);
            go_on(cpu, site, remapped)
        }
        // Where each unit is checked, what it did until then is compared first.
        Err(Stop::Fault) if !cpu.mmu.has_journal() => fault(cpu, site),
        Err(stop) => stopped(cpu, site, stop),
    }
}

fn stopped(cpu: &mut Cpu, site: &Site, stop: Stop) -> u64 {
    cpu.mmu.tell_jumps(&mut cpu.native.jumps, 0);
    cpu.native.stop = Some(stop);
    cpu.native.left_at = std::ptr::from_ref(site) as u64;
    code::STOPPED
}

/// The instruction at a site faulted: goes on in the handler of its exception.
fn fault(cpu: &mut Cpu, site: &Site) -> u64 {
    let at = u64::from(site.unit) + u64::from(site.op.start);
    cpu.rip = cpu.native.page_base.wrapping_add(at) & site.mode.ip_mask();
    let fault = cpu.fault;
    if deliver::raise(cpu, fault).is_err() {
        // A triple fault is one again when the run loop raises it, whose it is.
        cpu.fault = fault;
        return stopped(cpu, site, Stop::Fault);
    }
    cpu.mmu.tell_jumps(&mut cpu.native.jumps, 0);
    if cpu.attention & !attention::WINDOW != 0 || is_window(cpu) {
        return code::NEXT;
    }
    elsewhere(cpu, Mode::of(cpu))
}

/// Where a completed handler goes on: in its unit, in known code elsewhere, or outside. `remapped`: the
/// unit's page may be another now.
fn go_on(cpu: &mut Cpu, site: &Site, remapped: bool) -> u64 {
    // Else the vector registers, or the x87's, may not go back into the host's.
    let x87_masked = cpu.fpu.control & x87_state::ALL_MASKED == x87_state::ALL_MASKED;
    if cpu.fpu.mxcsr & MXCSR_MASKED != MXCSR_MASKED || site.x87 && !x87_masked {
        return code::NEXT;
    }
    let after = cpu.native.page_base.wrapping_add(u64::from(site.after)) & site.mode.ip_mask();
    let mode = Mode::of(cpu);
    let same = cpu.rip == after && mode == Some(site.mode) && !remapped;
    let here = !site.ends && same && cpu.limit != 0;
    if cpu.attention == attention::SHADOW && here {
        // The next instruction runs before anybody looks for interrupts.
        cpu.set_attention(attention::SHADOW, false);
    }
    if cpu.attention & !attention::WINDOW != 0 || is_window(cpu) {
        return code::NEXT;
    }
    if here {
        cpu.native.x87.set_reload(site.x87);
        return code::GO_ON;
    }
    elsewhere(cpu, mode)
}

/// The machine waits for interrupts to be allowed, and they are.
fn is_window(cpu: &Cpu) -> bool {
    cpu.attention & attention::WINDOW != 0 && cpu.rflags & rflags::IF != 0
}

/// Known code at RIP, or outside.
fn elsewhere(cpu: &Cpu, mode: Option<Mode>) -> u64 {
    let known = mode.filter(|_| cpu.limit != 0);
    known
        .and_then(|mode| cpu.native.jumps.find(mode, cpu.rip))
        .unwrap_or(code::NEXT)
}

fn may_go_on(cpu: &Cpu) -> bool {
    // Where each unit is checked a kick waits, lest it come at one of several runs alone.
    let kicked = cpu.bell.rings() && !cpu.mmu.has_journal();
    cpu.attention & !attention::WINDOW == 0 && !kicked && !cpu.replay.is_active()
}

thread_local! {
    /// What GS points at on this thread.
    static GS: Cell<u64> = const { Cell::new(0) };
}

fn point_gs(at: u64) {
    GS.with(|gs| {
        if gs.get() != at {
            const ARCH_SET_GS: libc::c_int = 0x1001;
            // SAFETY: nothing else in the process uses GS, which x86-64 Linux leaves to programs.
            unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, at) };
            gs.set(at);
        }
    });
}

/// Runs translated code at `entry` until it is left.
pub(super) fn enter(cpu: &mut Cpu, stubs: &Stubs, entry: u64) -> Way {
    let address = std::ptr::from_mut(cpu) as u64;
    point_gs(address);
    cpu.native.cpu = address;
    cpu.native.run_site = stubs.run as usize as u64;
    cpu.native.entry = entry;
    type Enter = unsafe extern "sysv64" fn(*mut Cpu) -> u64;
    // SAFETY: `stubs` were written by `Stubs::write` into memory that is still mapped.
    let enter: Enter = unsafe { std::mem::transmute(stubs.enter) };
    cpu.native.whereabouts.set(Place::Guest);
    // SAFETY: GS is the vCPU; `entry` is a live unit's. The pointer lets the code change all of it.
    let code = unsafe { enter(std::ptr::from_mut(cpu)) };
    cpu.native.whereabouts.set(Place::Interpreter);
    if let Some(panic) = cpu.native.panic.take() {
        std::panic::resume_unwind(panic);
    }
    match code {
        // SAFETY: a link of the unit that was left, which lives on until the translator runs again.
        code::LINK => Way::Link(unsafe { *(cpu.native.left_at as *const Link) }),
        code::STOPPED => {
            let stop = cpu.native.stop.take().unwrap_or(Stop::Repeat);
            // SAFETY: likewise.
            let site = unsafe { &*(cpu.native.left_at as *const Site) };
            Way::Stopped(stop, site.unit, site.op)
        }
        code::INTERPRET => Way::Interpret,
        _ => Way::Next,
    }
}
