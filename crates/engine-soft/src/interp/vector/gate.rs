//! May the instruction run at all? CR0, CR4 and XCR0 decide each time, since blocks outlive changes
//! of them. Spec: Intel SDM Vol. 2, "Exception Class Types" and "Exception Conditions of Legacy
//! SIMD Instructions"; Vol. 3, "System Programming for Instruction Set Extensions".

use x86::Exception;
use x86::exception::vector;
use x86::register::{cr0, cr4, xcr0};

use crate::cpu::Cpu;
use crate::interp::op::Stop;

const SSE_AND_AVX: u64 = xcr0::SSE | xcr0::AVX;

impl Cpu {
    /// #UD or #NM of legacy SSE instructions.
    #[inline(always)]
    pub(crate) fn may_use_sse(&mut self) -> Result<(), Stop> {
        let bad = self.cr0 & (cr0::EM | cr0::TS) | !self.cr4 & cr4::OSFXSR;
        if bad == 0 {
            return Ok(());
        }
        self.sse_fault()
    }

    #[cold]
    fn sse_fault(&mut self) -> Result<(), Stop> {
        if self.cr0 & cr0::EM != 0 || self.cr4 & cr4::OSFXSR == 0 {
            return self.ud();
        }
        self.nm()
    }

    /// #UD or #NM of VEX-encoded instructions over vector registers.
    #[inline(always)]
    pub(crate) fn may_use_avx(&mut self) -> Result<(), Stop> {
        let bad = self.cr0 & cr0::TS
            | !self.cr4 & cr4::OSXSAVE
            | !self.xcr0 & SSE_AND_AVX
            | u64::from(!self.uses_descriptors());
        if bad == 0 {
            return Ok(());
        }
        self.avx_fault()
    }

    #[cold]
    fn avx_fault(&mut self) -> Result<(), Stop> {
        let enabled = self.cr4 & cr4::OSXSAVE != 0 && self.xcr0 & SSE_AND_AVX == SSE_AND_AVX;
        if !enabled || !self.uses_descriptors() {
            return self.ud();
        }
        self.nm()
    }

    /// #UD of VEX-encoded instructions over general registers.
    pub(crate) fn may_use_vex(&mut self) -> Result<(), Stop> {
        if self.uses_descriptors() {
            return Ok(());
        }
        self.ud()
    }

    /// #UD, #NM or a waiting #MF of MMX instructions.
    pub(crate) fn may_use_mmx(&mut self) -> Result<(), Stop> {
        if self.cr0 & cr0::EM != 0 {
            return self.ud();
        }
        if self.cr0 & cr0::TS != 0 {
            return self.nm();
        }
        self.x87_wait()
    }

    /// #NM of x87 instructions.
    pub(crate) fn may_use_x87(&mut self) -> Result<(), Stop> {
        if self.cr0 & (cr0::EM | cr0::TS) == 0 {
            return Ok(());
        }
        self.nm()
    }

    /// #MF if an unmasked x87 exception is pending.
    ///
    /// With CR0.NE clear the processor would signal an external interrupt controller instead. This
    /// one has no such pin; it goes on, as a processor does whose IGNNE# pin is asserted.
    pub(crate) fn x87_wait(&mut self) -> Result<(), Stop> {
        if self.fpu.status & !self.fpu.control & 0x3f == 0 || self.cr0 & cr0::NE == 0 {
            return Ok(());
        }
        self.raise(Exception::plain(vector::MF))
    }

    pub(crate) fn nm<T>(&mut self) -> Result<T, Stop> {
        self.raise(Exception::plain(vector::NM))
    }
}
