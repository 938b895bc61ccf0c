//! A vCPU with its jump tables and its second-level TLB behind it, at one address that stays: translated code reaches all
//! from there.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::mem::offset_of;
use std::ops::{Deref, DerefMut};

use super::jumps_raw::{OF_ZERO, TABLES, Table, empty};
use crate::cpu::Cpu;
use crate::mmu::second_raw;

#[derive(Debug)]
#[repr(C)]
pub(crate) struct Placed {
    cpu: Cpu,
    tables: [Table; TABLES],
    second: second_raw::Tables,
}

impl Placed {
    /// Where the tables are, from the vCPU's address.
    pub(super) const TABLES_AT: usize = offset_of!(Placed, tables);
    pub(super) const SECOND_AT: usize = offset_of!(Placed, second);

    /// Puts `cpu` in its place. The tables begin empty, and cost nothing until they are used.
    pub(crate) fn new(cpu: Cpu) -> Box<Placed> {
        let layout = Layout::new::<Placed>();
        // SAFETY: the layout is not empty.
        let place = unsafe { alloc_zeroed(layout) }.cast::<Placed>();
        if place.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: memory of the right layout, its tables zero, which is a value of theirs, and its vCPU
        // written here before anyone sees it; allocated as a Box's would be.
        let mut placed = unsafe {
            (&raw mut (*place).cpu).write(cpu);
            Box::from_raw(place)
        };
        // The other entries are empty when they are zero.
        for table in &mut placed.tables {
            for (slot, entry) in table[..OF_ZERO].iter_mut().enumerate() {
                *entry = empty(slot);
            }
        }
        placed.cpu.mmu.second.tables = &raw mut placed.second;
        let tables = &raw mut placed.tables;
        placed.cpu.native.jumps.tables = tables;
        placed
    }
}

impl Deref for Placed {
    type Target = Cpu;

    fn deref(&self) -> &Cpu {
        &self.cpu
    }
}

impl DerefMut for Placed {
    fn deref_mut(&mut self) -> &mut Cpu {
        &mut self.cpu
    }
}
