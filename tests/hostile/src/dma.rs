//! Devices of the old world that reach memory by themselves, told to go where no memory is: to registers of
//! others, beyond RAM, over the end of the address space.

pub(crate) mod blaster;
pub(crate) mod ethernet;
pub(crate) mod floppy;
pub(crate) mod fw_cfg;
pub(crate) mod ide;
pub(crate) mod nvme;
pub(crate) mod sound;
pub(crate) mod uhci;

/// Where lists and rings of these devices lie.
const LISTS: u64 = 0x60_0000;
