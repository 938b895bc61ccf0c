//! A port or MMIO access on its way between guest and machine, in the pieces that the contract has.
//!
//! KVM reports `rep outsb` as one exit of many elements, and an MMIO access over a page boundary in
//! parts of any length up to eight; [`engine::Exit`] knows one access of 1, 2, 4 or 8 bytes.

use engine::Exit;
use memory::Gpa;

use crate::run_page_raw::RunPage;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Port(u16),
    Mmio(Gpa),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) target: Target,
    pub(crate) write: bool,
    /// Where in the run page the data lies, and how many bytes.
    pub(crate) offset: usize,
    pub(crate) len: usize,
    /// Bytes of one element of port I/O; for MMIO the largest piece.
    pub(crate) element: u8,
    /// Bytes dealt with.
    pub(crate) done: usize,
}

impl Transfer {
    fn piece(&self) -> u8 {
        let rest = u8::try_from(self.len - self.done)
            .unwrap_or(u8::MAX)
            .min(self.element);
        match self.target {
            Target::Port(_) => rest,
            Target::Mmio(_) => 1 << rest.max(1).ilog2(),
        }
    }

    /// The next piece as an exit; `None` when all are done.
    pub(crate) fn next(&mut self, page: &RunPage) -> Option<Exit> {
        if self.done >= self.len {
            return None;
        }
        let size = self.piece();
        let mut bytes = [0; 8];
        if self.write {
            page.read(self.offset + self.done, &mut bytes[..usize::from(size)]);
        }
        let value = u64::from_le_bytes(bytes);
        let exit = match (self.target, self.write) {
            (Target::Port(port), true) => {
                let [low, _] = crate::routing::halves(value);
                Exit::PortWrite {
                    port,
                    size,
                    value: low,
                }
            }
            (Target::Port(port), false) => Exit::PortRead { port, size },
            (Target::Mmio(base), write) => {
                let gpa = Gpa(base.0.wrapping_add(self.done as u64));
                if write {
                    Exit::MmioWrite { gpa, size, value }
                } else {
                    Exit::MmioRead { gpa, size }
                }
            }
        };
        if self.write {
            self.done += usize::from(size);
        }
        Some(exit)
    }

    /// A read waits for its value.
    pub(crate) fn wants_value(&self) -> bool {
        !self.write && self.done < self.len
    }

    /// The value of the piece that was asked for last.
    pub(crate) fn complete(&mut self, page: &RunPage, value: u64) {
        let size = usize::from(self.piece());
        page.write(self.offset + self.done, &value.to_le_bytes()[..size]);
        self.done += size;
    }
}

#[cfg(test)]
mod tests;
