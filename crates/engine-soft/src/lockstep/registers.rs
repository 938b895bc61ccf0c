//! A copy of everything that instructions change in a vCPU beside RAM and caches.

use x86::{DescriptorTable, Events, Fpu, Segment};

use crate::cpu::{Cpu, attention};
use crate::msrs::Msrs;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registers {
    pub(super) gpr: [u64; 16],
    pub(super) rip: u64,
    pub(super) status: u16,
    pub(super) rflags: u64,
    pub(super) cpl: u8,
    pub(super) attention: u32,
    segment_bases: [u64; 7],
    segments: [Segment; 6],
    ldtr: Segment,
    tr: Segment,
    gdtr: DescriptorTable,
    idtr: DescriptorTable,
    control: [u64; 6],
    dr: [u64; 6],
    pkru: u32,
    pub(super) fpu: Fpu,
    msrs: Msrs,
    events: Events,
    second_nmi: bool,
    shadow_by_ss: bool,
    debug_pending: u64,
}

impl Registers {
    pub(super) fn of(cpu: &Cpu) -> Registers {
        let mut gpr = [0; 16];
        gpr.copy_from_slice(&cpu.gpr[..16]);
        Registers {
            gpr,
            rip: cpu.rip,
            status: cpu.status & 0xd501,
            rflags: cpu.rflags,
            cpl: cpu.cpl,
            attention: cpu.attention,
            segment_bases: cpu.segment_bases,
            segments: cpu.segments,
            ldtr: cpu.ldtr,
            tr: cpu.tr,
            gdtr: cpu.gdtr,
            idtr: cpu.idtr,
            control: [cpu.cr0, cpu.cr2, cpu.cr3, cpu.cr4, cpu.efer, cpu.xcr0],
            dr: cpu.dr,
            pkru: cpu.pkru,
            fpu: cpu.fpu.clone(),
            msrs: cpu.msrs.clone(),
            events: cpu.events,
            second_nmi: cpu.second_nmi,
            // Means something only in a shadow.
            shadow_by_ss: cpu.shadow_by_ss && cpu.attention & attention::SHADOW != 0,
            debug_pending: cpu.debug_pending,
        }
    }

    /// Makes the vCPU what it was. What the TLB learned since stays, unless it was of other tables.
    pub(super) fn put_back(&self, cpu: &mut Cpu) {
        cpu.gpr[..16].copy_from_slice(&self.gpr);
        cpu.rip = self.rip;
        cpu.status = self.status | 0x200;
        cpu.rflags = self.rflags;
        cpu.cpl = self.cpl;
        cpu.attention = self.attention;
        cpu.segment_bases = self.segment_bases;
        cpu.segments = self.segments;
        (cpu.ldtr, cpu.tr) = (self.ldtr, self.tr);
        (cpu.gdtr, cpu.idtr) = (self.gdtr, self.idtr);
        let tables = [
            cpu.cr0,
            self.control[1],
            cpu.cr3,
            cpu.cr4,
            cpu.efer,
            self.control[5],
        ];
        [cpu.cr0, cpu.cr2, cpu.cr3, cpu.cr4, cpu.efer, cpu.xcr0] = self.control;
        cpu.dr = self.dr;
        cpu.pkru = self.pkru;
        cpu.fpu.clone_from(&self.fpu);
        cpu.msrs.clone_from(&self.msrs);
        cpu.events = self.events;
        cpu.second_nmi = self.second_nmi;
        cpu.shadow_by_ss = self.shadow_by_ss;
        cpu.debug_pending = self.debug_pending;
        cpu.exit = None;
        cpu.replay.clear();
        cpu.native.fast_calls.ready = 0;
        cpu.update_modes();
        if tables != self.control {
            cpu.mmu.start(cpu.pcid());
        }
    }

    /// What is not equal, one a line: this one's, then the other's.
    pub(super) fn differences(&self, other: &Registers) -> Vec<String> {
        const NAMES: [&str; 16] = [
            "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11",
            "r12", "r13", "r14", "r15",
        ];
        let mut found = Vec::new();
        let mut check = |name: &str, a: u64, b: u64| {
            if a != b {
                found.push(format!("{name}: {a:#x} / {b:#x}"));
            }
        };
        for (n, name) in NAMES.iter().enumerate() {
            check(name, self.gpr[n], other.gpr[n]);
        }
        check("rip", self.rip, other.rip);
        check(
            "status flags (LAHF; SETO AL)",
            self.status.into(),
            other.status.into(),
        );
        check("rflags", self.rflags, other.rflags);
        check("cpl", self.cpl.into(), other.cpl.into());
        check("attention", self.attention.into(), other.attention.into());
        check("mxcsr", self.fpu.mxcsr.into(), other.fpu.mxcsr.into());
        check("fcw", self.fpu.control.into(), other.fpu.control.into());
        check("fsw", self.fpu.status.into(), other.fpu.status.into());
        check("ftw", self.fpu.tag.into(), other.fpu.tag.into());
        let (a, b) = (&self.fpu, &other.fpu);
        check("fip", a.instruction_pointer, b.instruction_pointer);
        check("fdp", a.data_pointer, b.data_pointer);
        for n in 0..8 {
            let (a, b) = (self.fpu.st[n], other.fpu.st[n]);
            if a != b {
                found.push(format!("st{n}: {a:02x?} / {b:02x?}"));
            }
        }
        for n in 0..16 {
            let (a, b) = (self.fpu.ymm[n], other.fpu.ymm[n]);
            if a != b {
                found.push(format!("ymm{n}: {a:02x?} / {b:02x?}"));
            }
        }
        if found.is_empty() && self != other {
            found.push(format!("registers: {self:x?} / {other:x?}"));
        }
        found
    }
}
