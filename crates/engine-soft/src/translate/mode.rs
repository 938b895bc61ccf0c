//! What a translation takes for granted about the vCPU: part of its key.

use x86::register::{cr0, cr4, xcr0};

use crate::cpu::{CodeSize, Cpu};
use crate::mmu::set;

/// 64-bit code is translated, and 32-bit protected-mode code over flat segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Mode {
    /// 32-bit code, in a legacy mode or in compatibility mode: see `Cpu::flat`. Linear addresses are
    /// offsets, of 32 bits. Through FS and GS they are not, which is looked at when it matters.
    pub(super) code32: bool,
    /// TLB set of data accesses: user, supervisor, supervisor that may touch user pages.
    pub(super) set: u8,
    /// Legacy SSE instructions run without #UD or #NM.
    pub(super) sse: bool,
    /// VEX-encoded ones do.
    pub(super) avx: bool,
}

impl Mode {
    /// The mode the vCPU is in; `None` where its code is interpreted.
    #[inline]
    pub(crate) fn of(cpu: &Cpu) -> Option<Mode> {
        let code32 = cpu.code_size != CodeSize::Bits64;
        // Nobody uses rings 1 and 2; so a supervisor is in ring 0.
        if code32 && !cpu.flat || cpu.mmu.is_checked() || !matches!(cpu.cpl, 0 | 3) {
            return None;
        }
        const SSE_AND_AVX: u64 = xcr0::SSE | xcr0::AVX;
        let sse = cpu.cr0 & (cr0::EM | cr0::TS) == 0 && cpu.cr4 & cr4::OSFXSR != 0;
        let avx = cpu.cr0 & cr0::TS == 0
            && cpu.cr4 & cr4::OSXSAVE != 0
            && cpu.xcr0 & SSE_AND_AVX == SSE_AND_AVX;
        Some(Mode {
            code32,
            set: cpu.mmu.current_set() as u8,
            sse,
            avx,
        })
    }

    /// Which of the MMU's sets.
    pub(super) fn set(self) -> usize {
        self.set.into()
    }

    /// Ring 0, which may do anything.
    pub(super) fn is_supervisor(self) -> bool {
        self.set() != set::USER
    }

    /// How its code is decoded.
    pub(super) fn code_size(self) -> CodeSize {
        if self.code32 {
            CodeSize::Bits32
        } else {
            CodeSize::Bits64
        }
    }

    /// Instruction pointers have these bits.
    pub(super) fn ip_mask(self) -> u64 {
        if self.code32 { 0xffff_ffff } else { u64::MAX }
    }

    /// Bytes of a return address, and of what PUSH and POP move unless told otherwise.
    pub(super) fn word(self) -> u32 {
        if self.code32 { 4 } else { 8 }
    }

    /// Five bits that tell modes apart.
    pub(super) fn bits(self) -> u16 {
        let flags = u16::from(self.sse) | u16::from(self.avx) << 1 | u16::from(self.code32) << 2;
        u16::from(self.set) | flags << 2
    }
}
