//! FNSTENV, FLDENV, FNSAVE and FRSTOR in their four layouts: 16 or 32 bits, protected or real mode.
//! Spec: Intel SDM Vol. 1, "Saving the x87 FPU's State".

use x86::Fpu;

use super::words;
use crate::cpu::Cpu;
use crate::interp::op::{Op, Stop};

/// Bytes of the register stack in an FNSAVE image.
const STACK_BYTES: usize = 80;

/// Which of the layouts.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Bytes of each field: 2 or 4.
    width: usize,
    /// Real and virtual-8086 mode keep 20- or 32-bit linear pointers instead of selectors.
    real: bool,
}

impl Layout {
    fn of(cpu: &Cpu, op: &Op) -> Layout {
        let real = !cpu.uses_descriptors();
        let width = if matches!(op.size, 14 | 94) { 2 } else { 4 };
        Layout { width, real }
    }

    fn environment_bytes(self) -> usize {
        self.width * 7
    }
}

fn low(value: u64) -> u32 {
    value as u32
}

/// The seven fields of the environment.
fn fields(fpu: &Fpu, layout: Layout) -> [u32; 7] {
    let mut fields = [
        u32::from(fpu.control),
        u32::from(fpu.status),
        u32::from(words::full_tag(fpu)),
        low(fpu.instruction_pointer),
        0,
        low(fpu.data_pointer),
        0,
    ];
    let opcode = u32::from(fpu.opcode & 0x7ff);
    if layout.real {
        fields[4] = fields[3] >> 16 << 12 | opcode;
        fields[6] = fields[5] >> 16 << 12;
        fields[3] &= 0xffff;
        fields[5] &= 0xffff;
    } else if layout.width == 4 {
        fields[4] = opcode << 16;
    }
    if layout.width == 4 {
        let reserved: &[usize] = if layout.real {
            &[0, 1, 2, 3, 5]
        } else {
            &[0, 1, 2, 6]
        };
        for &n in reserved {
            fields[n] |= 0xffff_0000;
        }
    }
    fields
}

fn image(fpu: &Fpu, layout: Layout) -> [u8; 28] {
    let mut image = [0; 28];
    for (n, field) in fields(fpu, layout).into_iter().enumerate() {
        let bytes = field.to_le_bytes();
        image[n * layout.width..][..layout.width].copy_from_slice(&bytes[..layout.width]);
    }
    image
}

fn take(fpu: &mut Fpu, layout: Layout, image: &[u8]) {
    let field = |n: usize| {
        let mut bytes = [0; 4];
        bytes[..layout.width].copy_from_slice(&image[n * layout.width..][..layout.width]);
        u32::from_le_bytes(bytes)
    };
    words::put_status(fpu, field(1) as u16);
    words::put_control(fpu, field(0) as u16);
    fpu.tag = words::abridged(field(2) as u16);
    let (mut instruction, mut data) = (field(3), field(5));
    if layout.real {
        fpu.opcode = field(4) as u16 & 0x7ff;
        instruction = instruction & 0xffff | field(4) >> 12 << 16;
        data = data & 0xffff | field(6) >> 12 << 16;
    } else if layout.width == 4 {
        fpu.opcode = (field(4) >> 16) as u16 & 0x7ff;
    }
    fpu.instruction_pointer = u64::from(instruction);
    fpu.data_pointer = u64::from(data);
}

pub(super) fn fnstenv(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.may_use_x87()?;
    let layout = Layout::of(cpu, op);
    let len = layout.environment_bytes();
    let gla = cpu.linear(op, len as u32, true)?;
    let image = image(&cpu.fpu, layout);
    cpu.write_bytes(gla, &image[..len])?;
    let masked = cpu.fpu.control | words::EXCEPTIONS;
    words::put_control(&mut cpu.fpu, masked);
    Ok(())
}

pub(super) fn fldenv(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.may_use_x87()?;
    cpu.x87_wait()?;
    let layout = Layout::of(cpu, op);
    let mut image = [0; 28];
    let image = &mut image[..layout.environment_bytes()];
    let gla = cpu.linear(op, image.len() as u32, false)?;
    cpu.read_bytes(gla, image)?;
    take(&mut cpu.fpu, layout, image);
    Ok(())
}

pub(super) fn fnsave(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.may_use_x87()?;
    let layout = Layout::of(cpu, op);
    let env = layout.environment_bytes();
    let gla = cpu.linear(op, (env + STACK_BYTES) as u32, true)?;
    let mut whole = [0; 28 + STACK_BYTES];
    whole[..env].copy_from_slice(&image(&cpu.fpu, layout)[..env]);
    for (n, register) in cpu.fpu.st.iter().enumerate() {
        whole[env + n * 10..][..10].copy_from_slice(&register[..10]);
    }
    cpu.write_bytes(gla, &whole[..env + STACK_BYTES])?;
    words::initialise(&mut cpu.fpu);
    Ok(())
}

pub(super) fn frstor(cpu: &mut Cpu, op: &Op) -> Result<(), Stop> {
    cpu.may_use_x87()?;
    cpu.x87_wait()?;
    let layout = Layout::of(cpu, op);
    let env = layout.environment_bytes();
    let mut whole = [0; 28 + STACK_BYTES];
    let whole = &mut whole[..env + STACK_BYTES];
    let gla = cpu.linear(op, whole.len() as u32, false)?;
    cpu.read_bytes(gla, whole)?;
    take(&mut cpu.fpu, layout, &whole[..env]);
    for (n, register) in cpu.fpu.st.iter_mut().enumerate() {
        register[..10].copy_from_slice(&whole[env + n * 10..][..10]);
    }
    Ok(())
}
