//! A task's registers in its TSS. Spec: Intel SDM Vol. 3, "Task-State Segment (TSS)" and "16-Bit
//! Task-State Segment (TSS)".

use x86::Segment;
use x86::SegmentRegister;

use crate::cpu::Cpu;
use crate::interp::op::Stop;

/// What a TSS holds for a task that does not run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Image {
    /// Only in 32-bit ones.
    pub(crate) cr3: Option<u64>,
    pub(crate) ip: u64,
    pub(crate) flags: u64,
    pub(crate) registers: [u64; 8],
    pub(crate) selectors: [u16; 6],
    pub(crate) ldt: u16,
    /// A debug trap follows the switch.
    pub(crate) trap: bool,
}

/// Where the fields are.
struct Layout {
    /// Bytes a register has.
    size: u64,
    ip: u64,
    flags: u64,
    registers: u64,
    selectors: u64,
    /// How many segment registers it holds.
    segments: u64,
    ldt: u64,
}

const LAYOUT16: Layout = Layout {
    size: 2,
    ip: 0x0e,
    flags: 0x10,
    registers: 0x12,
    selectors: 0x22,
    segments: 4,
    ldt: 0x2a,
};

const LAYOUT32: Layout = Layout {
    size: 4,
    ip: 0x20,
    flags: 0x24,
    registers: 0x28,
    selectors: 0x48,
    segments: 6,
    ldt: 0x60,
};

const CR3: u64 = 0x1c;
const TRAP: u64 = 0x64;

fn layout(wide: bool) -> &'static Layout {
    if wide { &LAYOUT32 } else { &LAYOUT16 }
}

/// Reads the TSS at `base`.
pub(crate) fn read(cpu: &mut Cpu, base: u64, wide: bool) -> Result<Image, Stop> {
    let layout = layout(wide);
    let mut registers = [0; 8];
    for (register, n) in registers.iter_mut().zip(0..) {
        *register = field(cpu, base, layout.registers + n * layout.size, wide)?;
    }
    let mut selectors = [0; 6];
    for (selector, n) in selectors.iter_mut().zip(0..layout.segments) {
        *selector = field(cpu, base, layout.selectors + n * layout.size, false)? as u16;
    }
    Ok(Image {
        cr3: if wide {
            Some(field(cpu, base, CR3, true)?)
        } else {
            None
        },
        ip: field(cpu, base, layout.ip, wide)?,
        flags: field(cpu, base, layout.flags, wide)?,
        registers,
        selectors,
        ldt: field(cpu, base, layout.ldt, false)? as u16,
        trap: wide && field(cpu, base, TRAP, false)? & 1 != 0,
    })
}

fn field(cpu: &mut Cpu, base: u64, offset: u64, wide: bool) -> Result<u64, Stop> {
    let at = cpu.table_address(base, offset);
    if wide {
        cpu.read_system::<u32>(at).map(u64::from)
    } else {
        cpu.read_system::<u16>(at).map(u64::from)
    }
}

fn put_field(cpu: &mut Cpu, offset: u64, wide: bool, value: u64) -> Result<(), Stop> {
    let at = cpu.table_address(cpu.tr.base, offset);
    if wide {
        cpu.write_system(at, value as u32)
    } else {
        cpu.write_system(at, value as u16)
    }
}

/// Checks that the running task's state can be saved.
pub(crate) fn prepare_save(cpu: &mut Cpu) -> Result<(), Stop> {
    let layout = layout(!cpu.has_tss16());
    let at = cpu.table_address(cpu.tr.base, layout.ip);
    let bytes = (layout.selectors + layout.segments * layout.size - layout.ip) as u32;
    cpu.at_level(0, |cpu| cpu.prepare_write(at, bytes))
}

/// Saves the running task's state, with `flags` as its flags.
pub(crate) fn save(cpu: &mut Cpu, flags: u64) -> Result<(), Stop> {
    let wide = !cpu.has_tss16();
    let layout = layout(wide);
    put_field(cpu, layout.ip, wide, cpu.rip)?;
    put_field(cpu, layout.flags, wide, flags)?;
    for n in 0..8 {
        let value = cpu.gpr[n as usize];
        put_field(cpu, layout.registers + n * layout.size, wide, value)?;
    }
    for n in 0..layout.segments {
        let selector = cpu.segments[n as usize].selector;
        let offset = layout.selectors + n * layout.size;
        put_field(cpu, offset, false, u64::from(selector))?;
    }
    Ok(())
}

/// A register that has its selector but not yet its descriptor.
pub(crate) fn unloaded(selector: u16) -> Segment {
    Segment {
        selector,
        unusable: true,
        ..Segment::default()
    }
}

/// The segment registers in the order of [`SegmentRegister`].
pub(crate) const REGISTERS: [SegmentRegister; 6] = [
    SegmentRegister::Es,
    SegmentRegister::Cs,
    SegmentRegister::Ss,
    SegmentRegister::Ds,
    SegmentRegister::Fs,
    SegmentRegister::Gs,
];
