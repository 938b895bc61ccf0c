//! Between [`CpuState`] and the kernel's pieces of a vCPU.
//! Spec: Linux Documentation/virt/kvm/api.rst, "KVM_GET_REGS" and its neighbours.
//!
//! KVM_GET_SREGS, not its successor SREGS2: that one adds the four PDPTEs, which no other engine
//! keeps apart from memory, so that the kernel may as well load them from there again.

mod events;
mod fpu;
mod segments;

use engine::EngineError;
use kvm_bindings::{
    KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_RUNNABLE,
    KVM_MP_STATE_UNINITIALIZED, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_regs, kvm_sregs,
    kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::VcpuFd;
use x86::cpuid::CpuidTable;
use x86::register::gpr::{RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP};
use x86::{Activity, ApicState, CpuState, msr};

use crate::msrs::{self, MsrList};
use crate::{host, xsave_raw};

/// What a conversion must know about the vCPU and its host.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) msrs: MsrList,
    /// What KVM supports on this host; for XSAVE's layout.
    pub(crate) supported: CpuidTable,
    /// The guest has XCR0.
    pub(crate) has_xsave: bool,
    /// The local APIC at reset, for states that come without one.
    pub(crate) reset_apic: ApicState,
}

pub(crate) fn get(fd: &VcpuFd, context: &Context) -> Result<CpuState, EngineError> {
    // First, because it makes a pending INIT or SIPI part of the rest.
    let mp_state = fd
        .get_mp_state()
        .map_err(host("cannot read the run state"))?
        .mp_state;
    let regs = fd
        .get_regs()
        .map_err(host("cannot read the general registers"))?;
    let sregs = fd
        .get_sregs()
        .map_err(host("cannot read the system registers"))?;
    let debug = fd
        .get_debug_regs()
        .map_err(host("cannot read the debug registers"))?;
    let xsave = fd
        .get_xsave()
        .map_err(host("cannot read the vector registers"))?;
    let events = fd
        .get_vcpu_events()
        .map_err(host("cannot read the pending events"))?;
    let [d0, d1, d2, d3] = debug.db;
    let mut state = CpuState {
        dr: [d0, d1, d2, d3, debug.dr6, debug.dr7],
        xcr0: get_xcr0(fd)?,
        pkru: fpu::pkru(&xsave, &context.supported),
        tsc: msrs::read(fd, msr::TSC)?.unwrap_or(0),
        fpu: fpu::from_xsave(&xsave, &context.supported)?,
        msrs: context.msrs.save(fd)?,
        apic: get_apic(fd, &sregs)?,
        events: events::from_kvm(&events),
        activity: activity(mp_state),
        ..CpuState::at_reset()
    };
    take_regs(&mut state, &regs);
    segments::take_sregs(&mut state, &sregs);
    Ok(state)
}

pub(crate) fn set(fd: &VcpuFd, context: &Context, state: &CpuState) -> Result<(), EngineError> {
    let mut apic = &state.apic;
    if apic.registers.is_empty() {
        apic = &context.reset_apic;
    }
    let mp_state = kvm_mp_state {
        mp_state: mp_state(state.activity),
    };
    fd.set_mp_state(mp_state)
        .map_err(host("cannot set the run state"))?;
    fd.set_regs(&regs(state))
        .map_err(host("cannot set the general registers"))?;
    let mut sregs = segments::sregs(state);
    sregs.apic_base = apic.base;
    fd.set_sregs(&sregs)
        .map_err(host("cannot set the system registers"))?;
    set_xcr0(fd, context, state.xcr0)?;
    let mut xsave = kvm_xsave::default();
    fpu::to_xsave(&state.fpu, state.pkru, &context.supported, &mut xsave)?;
    xsave_raw::set(fd, &xsave).map_err(host("cannot set the vector registers"))?;
    let [d0, d1, d2, d3, dr6, dr7] = state.dr;
    let debug = kvm_debugregs {
        db: [d0, d1, d2, d3],
        dr6,
        dr7,
        ..kvm_debugregs::default()
    };
    fd.set_debug_regs(&debug)
        .map_err(host("cannot set the debug registers"))?;
    msrs::write(fd, msr::TSC, state.tsc)?;
    set_apic(fd, apic)?;
    context.msrs.restore(fd, &state.msrs)?;
    // After the APIC, whose timer mode decides whether it counts, and after the TSC.
    if apic.tsc_deadline != 0 {
        msrs::write(fd, msr::TSC_DEADLINE, apic.tsc_deadline)?;
    }
    fd.set_vcpu_events(&events::to_kvm(&state.events)?)
        .map_err(host("cannot set the pending events"))
}

fn activity(mp_state: u32) -> Activity {
    match mp_state {
        KVM_MP_STATE_HALTED => Activity::Halted,
        KVM_MP_STATE_UNINITIALIZED | KVM_MP_STATE_INIT_RECEIVED => Activity::WaitForSipi,
        _ => Activity::Running,
    }
}

fn mp_state(activity: Activity) -> u32 {
    match activity {
        Activity::Running => KVM_MP_STATE_RUNNABLE,
        Activity::Halted => KVM_MP_STATE_HALTED,
        // An INIT that has been taken: the next SIPI starts it.
        Activity::WaitForSipi => KVM_MP_STATE_INIT_RECEIVED,
    }
}

fn take_regs(state: &mut CpuState, regs: &kvm_regs) {
    let named = [
        (RAX, regs.rax),
        (RCX, regs.rcx),
        (RDX, regs.rdx),
        (RBX, regs.rbx),
        (RSP, regs.rsp),
        (RBP, regs.rbp),
        (RSI, regs.rsi),
        (RDI, regs.rdi),
    ];
    for (index, value) in named {
        state.gpr[index] = value;
    }
    let upper = [
        regs.r8, regs.r9, regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
    ];
    state.gpr[8..].copy_from_slice(&upper);
    state.rip = regs.rip;
    state.rflags = regs.rflags;
}

fn regs(state: &CpuState) -> kvm_regs {
    let [_, _, _, _, _, _, _, _, r8, r9, r10, r11, r12, r13, r14, r15] = state.gpr;
    kvm_regs {
        rax: state.gpr[RAX],
        rbx: state.gpr[RBX],
        rcx: state.gpr[RCX],
        rdx: state.gpr[RDX],
        rsi: state.gpr[RSI],
        rdi: state.gpr[RDI],
        rsp: state.gpr[RSP],
        rbp: state.gpr[RBP],
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip: state.rip,
        rflags: state.rflags,
    }
}

fn get_xcr0(fd: &VcpuFd) -> Result<u64, EngineError> {
    let xcrs = fd.get_xcrs().map_err(host("cannot read XCR0"))?;
    let count = usize::try_from(xcrs.nr_xcrs).unwrap_or(0);
    Ok(xcrs
        .xcrs
        .iter()
        .take(count)
        .find(|entry| entry.xcr == 0)
        .map_or(1, |entry| entry.value))
}

fn set_xcr0(fd: &VcpuFd, context: &Context, xcr0: u64) -> Result<(), EngineError> {
    let refused = || EngineError::State {
        what: format!("{xcr0:#x} in XCR0"),
    };
    if !context.has_xsave {
        return if xcr0 & !1 == 0 {
            Ok(())
        } else {
            Err(refused())
        };
    }
    let mut xcrs = kvm_xcrs {
        nr_xcrs: 1,
        ..kvm_xcrs::default()
    };
    xcrs.xcrs[0].value = xcr0;
    fd.set_xcrs(&xcrs).map_err(|_| refused())
}

/// The 64 registers of a local APIC lie 16 bytes apart.
fn get_apic(fd: &VcpuFd, sregs: &kvm_sregs) -> Result<ApicState, EngineError> {
    let lapic = fd.get_lapic().map_err(host("cannot read the local APIC"))?;
    let register = |slot: &[std::ffi::c_char]| {
        let mut bytes = [0; 4];
        for (to, from) in bytes.iter_mut().zip(slot) {
            *to = from.cast_unsigned();
        }
        u32::from_le_bytes(bytes)
    };
    Ok(ApicState {
        base: sregs.apic_base,
        registers: lapic.regs.chunks_exact(16).map(register).collect(),
        tsc_deadline: msrs::read(fd, msr::TSC_DEADLINE)?.unwrap_or(0),
    })
}

/// The local APIC of a vCPU as it is now.
pub(crate) fn current_apic(fd: &VcpuFd) -> Result<ApicState, EngineError> {
    let sregs = fd
        .get_sregs()
        .map_err(host("cannot read the system registers"))?;
    get_apic(fd, &sregs)
}

fn set_apic(fd: &VcpuFd, apic: &ApicState) -> Result<(), EngineError> {
    if apic.registers.len() != 64 {
        return Err(EngineError::State {
            what: "a local APIC of another size".to_owned(),
        });
    }
    let mut lapic = kvm_lapic_state::default();
    for (slot, register) in lapic.regs.chunks_exact_mut(16).zip(&apic.registers) {
        for (to, from) in slot.iter_mut().zip(register.to_le_bytes()) {
            *to = from.cast_signed();
        }
    }
    fd.set_lapic(&lapic)
        .map_err(host("cannot set the local APIC"))
}
