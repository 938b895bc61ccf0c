//! Memory operands of any length, in pieces, for what cannot be accessed in place.

use super::operand_raw::{copy_in, copy_out};
use crate::cpu::{CodeSize, Cpu};
use crate::interp::op::{Op, Stop};

impl Cpu {
    /// Reads `into.len()` bytes at `gla`; all checks come before the first read.
    pub(crate) fn read_bytes(&mut self, gla: u64, into: &mut [u8]) -> Result<(), Stop> {
        if let Some(host) = self.host_for_read(gla, into.len() as u64) {
            copy_in(host, into);
            return Ok(());
        }
        self.prepare_read(gla, into.len() as u32)?;
        if let Some(host) = self.host_for_read(gla, into.len() as u64) {
            copy_in(host, into);
            return Ok(());
        }
        for (at, size) in pieces(into.len()) {
            let from = self.along(gla, at);
            let value = match size {
                8 => self.read::<u64>(from)?,
                4 => u64::from(self.read::<u32>(from)?),
                2 => u64::from(self.read::<u16>(from)?),
                _ => u64::from(self.read::<u8>(from)?),
            };
            into[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
        }
        Ok(())
    }

    /// Writes `from` at `gla`; all checks come before the first write.
    pub(crate) fn write_bytes(&mut self, gla: u64, from: &[u8]) -> Result<(), Stop> {
        if let Some(host) = self.host_for_write(gla, from.len() as u64) {
            copy_out(host, from);
            return Ok(());
        }
        self.prepare_write(gla, from.len() as u32)?;
        if let Some(host) = self.host_for_write(gla, from.len() as u64) {
            copy_out(host, from);
            return Ok(());
        }
        for (at, size) in pieces(from.len()) {
            let to = self.along(gla, at);
            let mut bytes = [0; 8];
            bytes[..size].copy_from_slice(&from[at..at + size]);
            let value = u64::from_le_bytes(bytes);
            match size {
                8 => self.write(to, value)?,
                4 => self.write(to, value as u32)?,
                2 => self.write(to, value as u16)?,
                _ => self.write(to, value as u8)?,
            }
        }
        Ok(())
    }

    /// The linear address `by` bytes after `gla`.
    pub(crate) fn along(&self, gla: u64, by: usize) -> u64 {
        let sum = gla.wrapping_add(by as u64);
        if self.code_size == CodeSize::Bits64 {
            sum
        } else {
            sum & 0xffff_ffff
        }
    }

    /// The memory operand must be aligned to `align` bytes: #GP(0). Of SSE instructions this comes
    /// before the limit of the operand's segment.
    #[inline(always)]
    pub(crate) fn check_aligned(&mut self, op: &Op, align: u64) -> Result<(), Stop> {
        let base = self.segment_bases[usize::from(op.seg) % 7];
        if base.wrapping_add(self.offset(op)) & (align - 1) != 0 {
            return self.gp(0);
        }
        Ok(())
    }

    /// Linear address of an area that must be aligned to `align` bytes: #GP(0), after its limit.
    pub(crate) fn aligned(
        &mut self,
        op: &Op,
        size: u32,
        write: bool,
        align: u64,
    ) -> Result<u64, Stop> {
        let gla = self.linear(op, size, write)?;
        self.check_aligned(op, align)?;
        Ok(gla)
    }

    /// Linear address of the element `by` bytes into the memory operand.
    pub(crate) fn element(
        &mut self,
        op: &Op,
        by: usize,
        size: u32,
        write: bool,
    ) -> Result<u64, Stop> {
        let at = Op {
            disp: op.disp.wrapping_add(by as u64),
            ..*op
        };
        self.linear(&at, size, write)
    }
}

/// Cuts `len` bytes into pieces of 8, 4, 2 and 1: offset and size of each.
fn pieces(len: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let size = match len - at {
            0 => return None,
            8.. => 8,
            4.. => 4,
            2.. => 2,
            _ => 1,
        };
        let piece = (at, size);
        at += size;
        Some(piece)
    })
}
