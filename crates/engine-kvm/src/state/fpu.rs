//! x87, SSE, AVX and PKRU in an XSAVE area.
//! Spec: Intel SDM Vol. 1, "XSAVE Area"; Linux Documentation/virt/kvm/api.rst, "KVM_GET_XSAVE".
//!
//! KVM gives and takes the standard form, where a component lies at the offset that CPUID 0Dh tells
//! and not where the compacted form would pack it; an area that claims to be compacted is refused
//! rather than read wrongly. A component whose bit in XSTATE_BV is clear is in its initial state
//! whatever its bytes say.

use engine::EngineError;
use kvm_bindings::kvm_xsave;
use x86::Fpu;
use x86::cpuid::{CpuidTable, xsave_component};
use x86::register::xcr0;

const AREA: usize = 4096;
const CONTROL: usize = 0;
const STATUS: usize = 2;
const TAG: usize = 4;
const OPCODE: usize = 6;
const INSTRUCTION_POINTER: usize = 8;
const DATA_POINTER: usize = 16;
const MXCSR: usize = 24;
const ST: usize = 32;
const XMM: usize = 160;
const XSTATE_BV: usize = 512;
const XCOMP_BV: usize = 520;
const COMPACTED: u64 = 1 << 63;

/// The area as bytes.
struct Area([u8; AREA]);

impl Area {
    fn of(xsave: &kvm_xsave) -> Area {
        let mut bytes = [0; AREA];
        for (to, from) in bytes.chunks_exact_mut(4).zip(xsave.region) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        Area(bytes)
    }

    fn store(&self, xsave: &mut kvm_xsave) {
        for (to, from) in xsave.region.iter_mut().zip(self.0.chunks_exact(4)) {
            let mut word = [0; 4];
            word.copy_from_slice(from);
            *to = u32::from_le_bytes(word);
        }
    }

    /// `N` bytes at `offset`; zeros outside the area.
    fn get<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        if let Some(found) = self.0.get(offset..offset.saturating_add(N)) {
            bytes.copy_from_slice(found);
        }
        bytes
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(offset..offset.saturating_add(bytes.len())) {
            place.copy_from_slice(bytes);
        }
    }

    fn u16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.get(offset))
    }

    fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.get(offset))
    }

    fn u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.get(offset))
    }
}

/// Where a component of the standard form lies, if KVM supports it here.
fn offset(supported: &CpuidTable, component: u32) -> Option<usize> {
    if supported.xcr0_mask() & (1 << component) == 0 {
        return None;
    }
    let offset = usize::try_from(supported.find(0xd, component)?.ebx).ok()?;
    (576..AREA).contains(&offset).then_some(offset)
}

pub(super) fn from_xsave(xsave: &kvm_xsave, supported: &CpuidTable) -> Result<Fpu, EngineError> {
    let area = Area::of(xsave);
    if area.u64(XCOMP_BV) & COMPACTED != 0 {
        return Err(EngineError::Unsupported {
            what: "a KVM that answers a compacted XSAVE area",
        });
    }
    let present = area.u64(XSTATE_BV);
    let mut fpu = Fpu {
        mxcsr: area.u32(MXCSR),
        ..Fpu::default()
    };
    if present & xcr0::X87 != 0 {
        fpu.control = area.u16(CONTROL);
        fpu.status = area.u16(STATUS);
        fpu.tag = area.get::<1>(TAG)[0];
        fpu.opcode = area.u16(OPCODE);
        fpu.instruction_pointer = area.u64(INSTRUCTION_POINTER);
        fpu.data_pointer = area.u64(DATA_POINTER);
        for (index, st) in fpu.st.iter_mut().enumerate() {
            // Ten bytes; the rest of the slot is reserved.
            st[..10].copy_from_slice(&area.get::<10>(ST + 16 * index));
        }
    }
    if present & xcr0::SSE != 0 {
        for (index, ymm) in fpu.ymm.iter_mut().enumerate() {
            ymm[..16].copy_from_slice(&area.get::<16>(XMM + 16 * index));
        }
    }
    if let Some(at) = offset(supported, xsave_component::AVX).filter(|_| present & xcr0::AVX != 0) {
        for (index, ymm) in fpu.ymm.iter_mut().enumerate() {
            ymm[16..].copy_from_slice(&area.get::<16>(at + 16 * index));
        }
    }
    Ok(fpu)
}

pub(super) fn pkru(xsave: &kvm_xsave, supported: &CpuidTable) -> u32 {
    let area = Area::of(xsave);
    match offset(supported, xsave_component::PKRU) {
        Some(at) if area.u64(XSTATE_BV) & xcr0::PKRU != 0 => area.u32(at),
        _ => 0,
    }
}

pub(super) fn to_xsave(
    fpu: &Fpu,
    pkru: u32,
    supported: &CpuidTable,
    xsave: &mut kvm_xsave,
) -> Result<(), EngineError> {
    let mut area = Area([0; AREA]);
    let mut present = xcr0::X87 | xcr0::SSE;
    area.put(CONTROL, &fpu.control.to_le_bytes());
    area.put(STATUS, &fpu.status.to_le_bytes());
    area.put(TAG, &[fpu.tag]);
    area.put(OPCODE, &fpu.opcode.to_le_bytes());
    area.put(INSTRUCTION_POINTER, &fpu.instruction_pointer.to_le_bytes());
    area.put(DATA_POINTER, &fpu.data_pointer.to_le_bytes());
    area.put(MXCSR, &fpu.mxcsr.to_le_bytes());
    for (index, st) in fpu.st.iter().enumerate() {
        area.put(ST + 16 * index, &st[..10]);
    }
    for (index, ymm) in fpu.ymm.iter().enumerate() {
        area.put(XMM + 16 * index, &ymm[..16]);
    }
    if let Some(at) = offset(supported, xsave_component::AVX) {
        present |= xcr0::AVX;
        for (index, ymm) in fpu.ymm.iter().enumerate() {
            area.put(at + 16 * index, &ymm[16..]);
        }
    } else if fpu.ymm.iter().any(|ymm| ymm[16..] != [0; 16]) {
        return Err(EngineError::State {
            what: "AVX registers".to_owned(),
        });
    }
    if let Some(at) = offset(supported, xsave_component::PKRU) {
        present |= xcr0::PKRU;
        area.put(at, &pkru.to_le_bytes());
    } else if pkru != 0 {
        return Err(EngineError::State {
            what: "protection keys".to_owned(),
        });
    }
    area.put(XSTATE_BV, &present.to_le_bytes());
    area.store(xsave);
    Ok(())
}

#[cfg(test)]
mod tests;
