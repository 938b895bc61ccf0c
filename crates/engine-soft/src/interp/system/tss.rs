//! Stacks of inner levels in the task-state segment. Spec: Intel SDM Vol. 3, "Task-State Segment
//! (TSS)", "64-Bit TSS" and "Stack Switching".

use x86::exception::vector;
use x86::{Exception, Segment};

use super::descriptor::{is_null, rpl, system};
use super::stack::Stack;
use crate::cpu::Cpu;
use crate::interp::op::Stop;

impl Cpu {
    /// Is the task register's segment of the 16-bit format?
    pub(crate) fn has_tss16(&self) -> bool {
        self.tr.kind() & !system::BUSY == system::TSS16
    }

    /// Address of `size` bytes at `offset` in the TSS, or #TS(TSS selector).
    fn tss_address(&mut self, offset: u64, size: u64, ext: u16) -> Result<u64, Stop> {
        if self.tr.unusable || offset + size - 1 > u64::from(self.tr.limit) {
            return self.selector_fault(vector::TS, self.tr.selector, ext);
        }
        Ok(self.table_address(self.tr.base, offset))
    }

    /// The stack of privilege `level` in a 16- or 32-bit TSS, checked, and its SS. Faults are #TS.
    pub(crate) fn inner_stack(&mut self, level: u8, ext: u16) -> Result<(Segment, Stack), Stop> {
        let level = u64::from(level);
        let (ss, sp) = if self.has_tss16() {
            let at = self.tss_address(level * 4 + 2, 4, ext)?;
            let both: u32 = self.read_system(at)?;
            ((both >> 16) as u16, u64::from(both & 0xffff))
        } else {
            let at = self.tss_address(level * 8 + 4, 8, ext)?;
            let both: u64 = self.read_system(at)?;
            ((both >> 32) as u16, both & 0xffff_ffff)
        };
        let segment = self.inner_ss(ss, level as u8, ext)?;
        let code = super::descriptor::error_code(ss) | ext;
        Ok((segment, Stack::new(segment, sp, level as u8, code)))
    }

    fn inner_ss(&mut self, ss: u16, level: u8, ext: u16) -> Result<Segment, Stop> {
        if is_null(ss) {
            return self.raise(Exception::with_code(vector::TS, u32::from(ext)));
        }
        let descriptor = self.descriptor(ss, vector::TS, ext)?;
        if rpl(ss) != level || descriptor.dpl() != level || !descriptor.is_writable_data() {
            return self.selector_fault(vector::TS, ss, ext);
        }
        if !descriptor.present() {
            return self.selector_fault(vector::SS, ss, ext);
        }
        self.mark_accessed(&descriptor)?;
        Ok(descriptor.segment(ss))
    }

    /// The stack pointer of privilege `level` in a 64-bit TSS.
    pub(crate) fn inner_rsp(&mut self, level: u8, ext: u16) -> Result<u64, Stop> {
        self.tss_rsp(u64::from(level) * 8 + 4, ext)
    }

    /// The stack pointer of interrupt stack table entry `ist`, 1 to 7.
    pub(crate) fn ist_rsp(&mut self, ist: u8, ext: u16) -> Result<u64, Stop> {
        self.tss_rsp(u64::from(ist) * 8 + 0x1c, ext)
    }

    fn tss_rsp(&mut self, offset: u64, ext: u16) -> Result<u64, Stop> {
        let at = self.tss_address(offset, 8, ext)?;
        let rsp = self.read_system(at)?;
        if !Cpu::canonical(rsp) {
            return self.raise(Exception::with_code(vector::SS, u32::from(ext)));
        }
        Ok(rsp)
    }
}
