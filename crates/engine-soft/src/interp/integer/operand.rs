//! Operands as lowering sees them, and read-modify-write on memory.

use std::sync::Mutex;

use iced_x86::{Instruction, OpKind, Register};

use super::alu_raw::compare_exchange;
use crate::cpu::Cpu;
use crate::interp::op::{LOCK, Op, Stop, register_offset};
use crate::mmu::access_raw::{load, store};
use crate::word::Word;

/// An operand's place. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Register { offset: u8, size: u8 },
    Memory { size: u8 },
    Immediate(u64),
}

/// Place of operand `n`; `None` for what is no integer operand (segment, control, vector registers).
pub(crate) fn place(insn: &Instruction, n: u32) -> Option<Place> {
    match insn.op_kind(n) {
        OpKind::Register => general(insn.op_register(n)),
        OpKind::Memory => Some(Place::Memory {
            size: insn.memory_size().size() as u8,
        }),
        OpKind::Immediate8
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => Some(Place::Immediate(insn.immediate(n))),
        _ => None,
    }
}

fn general(register: Register) -> Option<Place> {
    register.is_gpr().then(|| Place::Register {
        offset: register_offset(register),
        size: register.size() as u8,
    })
}

/// Serialises LOCKed accesses that no single host instruction can do: across a page, or to MMIO.
static SPLIT_LOCK: Mutex<()> = Mutex::new(());

impl Cpu {
    /// Read-modify-write of the memory operand. `change` maps the old value and the status flags to
    /// the new ones; it may run several times when another vCPU interferes with a LOCKed one.
    /// Answers the old value.
    #[inline(always)]
    pub(crate) fn update<T: Word>(
        &mut self,
        op: &Op,
        change: impl Fn(T, u16) -> (T, u16),
    ) -> Result<T, Stop> {
        let gla = self.linear(op, u32::from(T::BYTES), true)?;
        self.update_at(gla, op.flags & LOCK != 0, change)
    }

    #[inline(always)]
    pub(crate) fn update_at<T: Word>(
        &mut self,
        gla: u64,
        lock: bool,
        change: impl Fn(T, u16) -> (T, u16),
    ) -> Result<T, Stop> {
        let Some(host) = self.host_for_update(gla, T::BYTES)? else {
            return self.update_split(gla, lock, change);
        };
        // SAFETY: `host_for_update` answers addresses of RAM that hold all of `T`.
        let mut old: T = unsafe { load(host) };
        let (mut new, mut status) = change(old, self.status);
        if lock {
            // SAFETY: as above.
            let mut found = unsafe { compare_exchange(host, old, new) };
            while found != old {
                old = found;
                (new, status) = change(old, self.status);
                // SAFETY: as above.
                found = unsafe { compare_exchange(host, old, new) };
            }
        } else {
            // SAFETY: as above.
            unsafe { store(host, new) };
        }
        self.status = status;
        Ok(old)
    }

    #[cold]
    fn update_split<T: Word>(
        &mut self,
        gla: u64,
        lock: bool,
        change: impl Fn(T, u16) -> (T, u16),
    ) -> Result<T, Stop> {
        let guard = lock.then(|| SPLIT_LOCK.lock());
        let old: T = self.read(gla)?;
        let (new, status) = change(old, self.status);
        self.write(gla, new)?;
        self.status = status;
        drop(guard);
        Ok(old)
    }
}
