//! Between the interpreter's registers and the engine-neutral [`CpuState`].

use std::arch::x86_64::_rdtsc;
use std::collections::BTreeMap;

use memory::GuestMemory;
use x86::cpuid::CpuidTable;
use x86::register::{dr7, rflags};
use x86::{Activity, ApicState, CpuState, Events, Exception, msr};

use super::features::Features;
use super::{CodeSize, Cpu, attention};
use crate::interp::vector::available::Available;
use crate::interp::vector::misc::MXCSR_BITS;
use crate::mmu::Mmu;
use crate::msrs::Msrs;
use crate::replay::Replay;
use crate::translate::native::Native;
use crate::tsc::SharedTsc;

/// The host's time-stamp counter.
pub(crate) fn host_tsc() -> u64 {
    // SAFETY: RDTSC has no preconditions; every x86-64 host has it.
    unsafe { _rdtsc() }
}

impl Cpu {
    /// Has the time of the guest's other vCPUs.
    pub(crate) fn join(&mut self, tsc: &SharedTsc) {
        self.shared_tsc = tsc.clone();
        self.msrs.tsc_offset = tsc.offset();
    }

    /// A vCPU in its state after reset.
    pub(crate) fn new(id: u32, cpuid: CpuidTable, memory: GuestMemory) -> Cpu {
        let reset = CpuState::at_reset();
        let bell = memory.add_bell();
        let mut cpu = Cpu {
            gpr: [0; 18],
            rip: 0,
            status: 0,
            code_size: CodeSize::Bits16,
            cpl: 0,
            limit: 0,
            rflags: 0,
            stack_mask: 0xffff,
            ip_mask: 0xffff_ffff,
            segment_bases: [0; 7],
            open_segments: 0,
            flat: false,
            attention: 0,
            mmu: Mmu::new(&cpuid),
            segments: reset.segments,
            ldtr: reset.ldtr,
            tr: reset.tr,
            gdtr: reset.gdtr,
            idtr: reset.idtr,
            cr0: 0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            dr: [0; 6],
            efer: 0,
            xcr0: 1,
            pkru: 0,
            fpu: reset.fpu.clone(),
            msrs: Msrs::at_reset(),
            events: Events::default(),
            second_nmi: false,
            delivered: false,
            shadow_by_ss: false,
            debug_pending: 0,
            fault: Exception::plain(0),
            exit: None,
            replay: Replay::default(),
            string: Vec::new(),
            takes_strings: false,
            instructions: 0,
            pauses: 0,
            features: Features::new(&cpuid),
            available: Available::new(&cpuid),
            cpuid,
            memory,
            shared_tsc: SharedTsc::new(0u64.wrapping_sub(host_tsc())),
            native: Native::new(std::ptr::from_ref(bell.word()) as u64),
            bell,
            apic_enabled: true,
            id,
        };
        cpu.restore(&reset);
        cpu
    }

    /// The state as every engine understands it.
    pub(crate) fn save(&mut self) -> CpuState {
        let mut msrs: BTreeMap<u32, u64> = self.msrs.others.clone();
        for index in Msrs::KEPT {
            if let Some(field) = self.msrs.field(index) {
                msrs.insert(index, *field);
            }
        }
        let mut gpr = [0; 16];
        gpr.copy_from_slice(&self.gpr[..16]);
        let events = Events {
            interrupt_shadow: self.attention & attention::SHADOW != 0,
            nmi_pending: self.attention & attention::NMI != 0,
            ..self.events
        };
        CpuState {
            gpr,
            rip: self.rip,
            rflags: self.read_rflags(),
            segments: self.segments,
            ldtr: self.ldtr,
            tr: self.tr,
            gdtr: self.gdtr,
            idtr: self.idtr,
            cr0: self.cr0,
            cr2: self.cr2,
            cr3: self.cr3,
            cr4: self.cr4,
            cr8: 0,
            dr: self.dr,
            efer: self.efer,
            xcr0: self.xcr0,
            pkru: self.pkru,
            tsc: host_tsc().wrapping_add(self.msrs.tsc_offset),
            fpu: self.fpu.clone(),
            msrs,
            apic: ApicState::default(),
            events,
            activity: Activity::Running,
        }
    }

    /// Becomes `state`.
    pub(crate) fn restore(&mut self, state: &CpuState) {
        self.gpr[..16].copy_from_slice(&state.gpr);
        self.rip = state.rip;
        self.segments = state.segments;
        for (base, segment) in self.segment_bases.iter_mut().zip(&state.segments) {
            *base = segment.base;
        }
        (self.ldtr, self.tr) = (state.ldtr, state.tr);
        (self.gdtr, self.idtr) = (state.gdtr, state.idtr);
        (self.cr0, self.cr2) = (state.cr0, state.cr2);
        (self.cr3, self.cr4) = (state.cr3, state.cr4);
        self.efer = state.efer;
        self.dr = state.dr;
        self.xcr0 = state.xcr0;
        self.pkru = state.pkru;
        self.fpu = state.fpu.clone();
        // The host's LDMXCSR takes no others.
        self.fpu.mxcsr &= MXCSR_BITS;
        let tsc_offset = self.msrs.tsc_offset;
        self.msrs = Msrs::at_reset();
        for (&index, &value) in &state.msrs {
            match self.msrs.field(index) {
                Some(field) => *field = value,
                None => {
                    self.msrs.others.insert(index, value);
                }
            }
        }
        let wanted = state.tsc.wrapping_sub(host_tsc());
        self.msrs.tsc_offset = self.shared_tsc.settle(tsc_offset, wanted);
        if !state.apic.registers.is_empty() {
            self.apic_enabled = state.apic.base & msr::APIC_ENABLE != 0;
        }
        self.events = state.events;
        self.attention = 0;
        self.set_attention(attention::SHADOW, state.events.interrupt_shadow);
        self.set_attention(attention::NMI, state.events.nmi_pending);
        self.set_attention(attention::BREAKPOINT, state.dr[5] & 0xff & !dr7::FIXED != 0);
        self.second_nmi = false;
        self.debug_pending = 0;
        self.replay.clear();
        self.exit = None;
        self.cpl = if !self.protected() {
            0
        } else if state.rflags & rflags::VM != 0 {
            3
        } else {
            // SS.DPL is the CPL, as VMX and KVM define it too; 64-bit null SS holds it in the RPL.
            state.segments[2].dpl()
        };
        self.write_rflags(state.rflags);
        self.update_modes();
        self.native.fast_calls.ready = 0;
        self.mmu.start(self.pcid());
    }
}
