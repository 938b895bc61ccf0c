//! XSAVE, XSAVEOPT and XRSTOR in standard form, over x87, SSE, AVX and PKRU. Spec: Intel SDM Vol. 1,
//! "Operation of XSAVE", "Operation of XSAVEOPT" and "Operation of XRSTOR".
//!
//! XSAVEOPT uses the init optimisation (components in their initial configuration are not written)
//! and not the modified one, which software cannot tell from a processor that forgot.

use x86::Fpu;
use x86::register::{cr0, cr4, xcr0};

use super::image;
use crate::cpu::{CodeSize, Cpu};
use crate::interp::op::{Op, Stop};
use crate::interp::vector::misc::MXCSR_BITS;

const LEGACY: usize = 512;
const HEADER: usize = 64;
const X87_AND_SSE: u64 = xcr0::X87 | xcr0::SSE;

fn registers(cpu: &Cpu) -> usize {
    if cpu.code_size == CodeSize::Bits64 {
        16
    } else {
        8
    }
}

/// #UD, #NM and alignment; the linear address of the area.
fn area(cpu: &mut Cpu, op: &Op, write: bool) -> Result<u64, Stop> {
    if cpu.cr4 & cr4::OSXSAVE == 0 {
        return cpu.ud();
    }
    if cpu.cr0 & cr0::TS != 0 {
        return cpu.nm();
    }
    cpu.aligned(op, (LEGACY + HEADER) as u32, write, 64)
}

/// EDX:EAX AND XCR0.
fn requested(cpu: &Cpu) -> u64 {
    (cpu.gpr[0] & 0xffff_ffff | cpu.gpr[2] << 32) & cpu.xcr0
}

/// Checks every part of the area that the components `wanted` may take part in, present or not, as
/// processors do: from the end to the start. Answers XSTATE_BV; XRSTOR's header is judged on the way.
fn probe(cpu: &mut Cpu, op: &Op, gla: u64, wanted: u64, write: bool) -> Result<u64, Stop> {
    let mut present = 0;
    let mut parts = [None; 4];
    parts[0] = Some((LEGACY, HEADER));
    if wanted & (xcr0::X87 | xcr0::SSE | xcr0::AVX) != 0 {
        parts[1] = Some((0, LEGACY));
    }
    if wanted & xcr0::AVX != 0 {
        parts[2] = Some((cpu.features.avx_at, 256));
    }
    if wanted & xcr0::PKRU != 0 {
        parts[3] = Some((cpu.features.pkru_at, 8));
    }
    parts.sort_unstable_by(|a, b| b.cmp(a));
    for (offset, len) in parts.into_iter().flatten() {
        if cpu.code_size != CodeSize::Bits64 {
            cpu.linear(op, (offset + len) as u32, write)?;
        }
        for at in [offset + len - 1, offset] {
            let at = cpu.along(gla, at);
            // What the TLB holds needs no walk.
            if write && cpu.host_for_write(at, 1).is_none() {
                cpu.prepare_write(at, 1)?;
            } else if !write && cpu.host_for_read(at, 1).is_none() {
                cpu.prepare_read(at, 1)?;
            }
        }
        if offset == LEGACY {
            present = header(cpu, gla, write)?;
        }
    }
    Ok(present)
}

/// FCW after FNINIT. Everything else of the x87 state is zero then.
const INITIAL_CONTROL: u16 = 0x37f;

fn initial_x87(fpu: &Fpu) -> bool {
    fpu.control == INITIAL_CONTROL
        && fpu.status == 0
        && fpu.tag == 0
        && fpu.opcode == 0
        && fpu.instruction_pointer == 0
        && fpu.data_pointer == 0
        && fpu.st == [[0; 16]; 8]
}

/// Components that are not in their initial configuration (XINUSE).
pub(crate) fn in_use(cpu: &Cpu) -> u64 {
    let mut used = 0;
    if !initial_x87(&cpu.fpu) {
        used |= xcr0::X87;
    }
    // MXCSR does not count.
    if cpu.fpu.ymm.iter().any(|register| register[..16] != [0; 16]) {
        used |= xcr0::SSE;
    }
    if cpu.fpu.ymm.iter().any(|register| register[16..] != [0; 16]) {
        used |= xcr0::AVX;
    }
    if cpu.pkru != 0 {
        used |= xcr0::PKRU;
    }
    used
}

/// A part of the area that is written: where it starts, and its bytes.
type Piece<'a> = (usize, &'a [u8]);

/// What XSAVE writes of the legacy region, out of an `image` of all of it.
fn legacy_pieces(image: &[u8], write: u64, wanted: u64, xmm_len: usize) -> [Option<Piece<'_>>; 4] {
    const MXCSR: std::ops::Range<usize> = image::MXCSR_AT..image::MXCSR_AT + 8;
    let piece =
        |yes: bool, range: std::ops::Range<usize>| yes.then(|| (range.start, &image[range]));
    let x87 = write & xcr0::X87 != 0;
    // MXCSR belongs to SSE and to AVX; it has no initial configuration of its own.
    let mxcsr = wanted & (xcr0::SSE | xcr0::AVX) != 0;
    [
        piece(x87, 0..MXCSR.start),
        piece(x87, MXCSR.end..image::XMM_AT),
        piece(mxcsr, MXCSR),
        piece(
            write & xcr0::SSE != 0,
            image::XMM_AT..image::XMM_AT + xmm_len,
        ),
    ]
}

/// XSAVE and XSAVEOPT.
pub(super) fn save<const WIDE: bool, const OPT: bool>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let gla = area(cpu, op, true)?;
    let wanted = requested(cpu);
    let used = in_use(cpu);
    let write = if OPT { wanted & used } else { wanted };
    let len = registers(cpu) * 16;
    let mut legacy = [0; image::WRITTEN];
    if write & xcr0::X87 != 0 {
        image::put_x87(&cpu.fpu, &mut legacy, WIDE);
    }
    image::put_mxcsr(&cpu.fpu, &mut legacy);
    if write & xcr0::SSE != 0 {
        image::put_xmm(&cpu.fpu, &mut legacy, len / 16);
    }
    let (upper, pkru) = (upper_halves(&cpu.fpu), u64::from(cpu.pkru).to_le_bytes());
    let pieces = legacy_pieces(&legacy, write, wanted, len);
    let avx = (write & xcr0::AVX != 0).then(|| (cpu.features.avx_at, &upper[..len]));
    let keys = (write & xcr0::PKRU != 0).then(|| (cpu.features.pkru_at, &pkru[..]));
    let old = probe(cpu, op, gla, wanted, true)?;
    let header_at = cpu.along(gla, LEGACY);
    for (at, bytes) in pieces.into_iter().chain([avx, keys]).flatten() {
        let to = cpu.along(gla, at);
        cpu.write_bytes(to, bytes)?;
    }
    cpu.write(header_at, old & !wanted | used & wanted)
}

fn upper_halves(fpu: &Fpu) -> [u8; 256] {
    let mut upper = [0; 256];
    for (to, register) in upper.chunks_exact_mut(16).zip(&fpu.ymm) {
        to.copy_from_slice(&register[16..]);
    }
    upper
}

/// What XRSTOR has read and checked, before anything changes.
struct Incoming {
    legacy: [u8; LEGACY],
    upper: [u8; 256],
    pkru: u64,
    /// Components in the area; the others of `wanted` become initial.
    present: u64,
    wanted: u64,
}

/// XSTATE_BV of the header. Before a load the rest must be as it should be: #GP(0).
fn header(cpu: &mut Cpu, gla: u64, write: bool) -> Result<u64, Stop> {
    let mut header = [0; HEADER];
    let at = cpu.along(gla, LEGACY);
    cpu.read_bytes(at, &mut header)?;
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let (present, compact) = (word(0), word(8));
    // Without XSAVEC every bit of XCOMP_BV, the compacted form's included, is reserved.
    if !write && (present & !cpu.xcr0 != 0 || compact != 0 || word(16) != 0) {
        return cpu.gp(0);
    }
    Ok(present)
}

fn read_area(cpu: &mut Cpu, op: &Op, gla: u64) -> Result<Incoming, Stop> {
    let wanted = requested(cpu);
    let present = probe(cpu, op, gla, wanted, false)?;
    let mut incoming = Incoming {
        legacy: [0; LEGACY],
        upper: [0; 256],
        pkru: 0,
        present,
        wanted,
    };
    let load = wanted & incoming.present;
    // MXCSR is loaded for SSE and AVX whether or not they are present.
    if load & X87_AND_SSE != 0 || wanted & (xcr0::SSE | xcr0::AVX) != 0 {
        cpu.read_bytes(gla, &mut incoming.legacy)?;
    }
    if load & xcr0::AVX != 0 {
        let at = cpu.features.avx_at;
        let at = cpu.along(gla, at);
        let len = registers(cpu) * 16;
        cpu.read_bytes(at, &mut incoming.upper[..len])?;
    }
    if load & xcr0::PKRU != 0 {
        let at = cpu.features.pkru_at;
        let at = cpu.along(gla, at);
        incoming.pkru = cpu.read(at)?;
    }
    if wanted & (xcr0::SSE | xcr0::AVX) != 0 && image::mxcsr(&incoming.legacy) & !MXCSR_BITS != 0 {
        return cpu.gp(0);
    }
    Ok(incoming)
}

/// XRSTOR.
pub(super) fn restore<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    let gla = area(cpu, op, false)?;
    let incoming = read_area(cpu, op, gla)?;
    let (wanted, load) = (incoming.wanted, incoming.wanted & incoming.present);
    let count = registers(cpu);
    if load & xcr0::X87 != 0 {
        image::take_x87(&mut cpu.fpu, &incoming.legacy, WIDE);
    } else if wanted & xcr0::X87 != 0 {
        initialise_x87(&mut cpu.fpu);
    }
    if load & xcr0::SSE != 0 {
        image::take_xmm(&mut cpu.fpu, &incoming.legacy, count);
    } else if wanted & xcr0::SSE != 0 {
        cpu.fpu.ymm[..count]
            .iter_mut()
            .for_each(|r| r[..16].fill(0));
    }
    if wanted & (xcr0::SSE | xcr0::AVX) != 0 {
        cpu.fpu.mxcsr = image::mxcsr(&incoming.legacy);
    }
    if wanted & xcr0::AVX != 0 {
        // All zeros where the component is absent, which is its initial configuration.
        for (register, half) in cpu.fpu.ymm[..count]
            .iter_mut()
            .zip(incoming.upper.chunks_exact(16))
        {
            register[16..].copy_from_slice(half);
        }
    }
    if wanted & xcr0::PKRU != 0 {
        cpu.set_pkru(incoming.pkru as u32);
    }
    Ok(())
}

fn initialise_x87(fpu: &mut Fpu) {
    fpu.control = INITIAL_CONTROL;
    (fpu.status, fpu.tag, fpu.opcode) = (0, 0, 0);
    (fpu.instruction_pointer, fpu.data_pointer) = (0, 0);
    fpu.st = [[0; 16]; 8];
}
