//! Loading segment registers. Spec: Intel SDM Vol. 3, "Loading Segment Registers"; Vol. 2, "MOV",
//! "POP" and "LDS/LES/LFS/LGS/LSS".

use x86::exception::vector;
use x86::{Segment, SegmentRegister};

use super::descriptor::{is_null, rpl};
use crate::cpu::{CodeSize, Cpu};
use crate::interp::op::Stop;

/// What a register holds in virtual-8086 mode.
pub(crate) fn virtual_8086(selector: u16) -> Segment {
    let mut segment = Segment::real(selector);
    segment.rights |= 3 << 5;
    segment
}

/// A null selector: unusable, its base cleared, as processors since 2019 of either vendor do.
pub(crate) fn null(selector: u16) -> Segment {
    Segment {
        selector,
        unusable: true,
        ..Segment::default()
    }
}

/// A null SS of 64-bit mode, whose DPL is the privilege level all the same.
pub(crate) fn null_stack(cpl: u8) -> Segment {
    let mut segment = null(u16::from(cpl));
    segment.rights = u16::from(cpl) << 5;
    segment
}

impl Cpu {
    /// Loads a register in real or virtual-8086 mode. Real mode keeps the limit and the D bit that
    /// the register has ("unreal mode").
    pub(crate) fn load_real_segment(&mut self, register: SegmentRegister, selector: u16) {
        let segment = self.real_segment(register, selector);
        self.put_segment(register, segment);
    }

    pub(crate) fn real_segment(&self, register: SegmentRegister, selector: u16) -> Segment {
        if self.virtual_8086() {
            return virtual_8086(selector);
        }
        let old = self.segment(register);
        let kept = old.rights & (Segment::BIG | Segment::GRANULAR);
        let mut segment = Segment::real(selector);
        segment.rights |= kept;
        segment.limit = if old.unusable { 0xffff } else { old.limit };
        if register == SegmentRegister::Cs {
            segment.rights |= Segment::CODE;
        }
        segment
    }

    /// Loads any register but CS, as MOV, POP and LDS do.
    pub(crate) fn load_segment(
        &mut self,
        register: SegmentRegister,
        selector: u16,
    ) -> Result<(), Stop> {
        if !self.uses_descriptors() {
            self.load_real_segment(register, selector);
            return Ok(());
        }
        let segment = if register == SegmentRegister::Ss {
            self.stack_segment(selector)?
        } else {
            self.data_segment(selector)?
        };
        self.put_segment(register, segment);
        Ok(())
    }

    /// The segment that a load of SS through `selector` gives.
    fn stack_segment(&mut self, selector: u16) -> Result<Segment, Stop> {
        let cpl = self.cpl;
        if is_null(selector) {
            let long = self.code_size == CodeSize::Bits64;
            if long && cpl != 3 && rpl(selector) == cpl {
                return Ok(null_stack(cpl));
            }
            return self.gp(0);
        }
        let descriptor = self.descriptor(selector, vector::GP, 0)?;
        if rpl(selector) != cpl || !descriptor.is_writable_data() || descriptor.dpl() != cpl {
            return self.gp_selector(selector);
        }
        if !descriptor.present() {
            return self.selector_fault(vector::SS, selector, 0);
        }
        self.mark_accessed(&descriptor)?;
        Ok(descriptor.segment(selector))
    }

    /// The segment that a load of DS, ES, FS or GS through `selector` gives.
    fn data_segment(&mut self, selector: u16) -> Result<Segment, Stop> {
        if is_null(selector) {
            return Ok(null(selector));
        }
        let descriptor = self.descriptor(selector, vector::GP, 0)?;
        let least = self.cpl.max(rpl(selector));
        let denied = !descriptor.is_conforming() && least > descriptor.dpl();
        if !descriptor.is_readable() || denied {
            return self.gp_selector(selector);
        }
        if !descriptor.present() {
            return self.selector_fault(vector::NP, selector, 0);
        }
        self.mark_accessed(&descriptor)?;
        Ok(descriptor.segment(selector))
    }

    /// After a return to an outer level: data segments that it may not use become null. Bases stay:
    /// FS and GS of 64-bit mode have theirs from an MSR, whatever their selectors.
    pub(crate) fn drop_inner_segments(&mut self) {
        use SegmentRegister::{Ds, Es, Fs, Gs};
        for register in [Es, Ds, Fs, Gs] {
            let segment = *self.segment(register);
            let conforming = segment.has(Segment::CODE) && segment.has(Segment::CONFORMING);
            if !segment.unusable && !conforming && segment.dpl() < self.cpl {
                let base = segment.base;
                self.put_segment(register, Segment { base, ..null(0) });
            }
        }
    }
}
