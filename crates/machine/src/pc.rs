//! The board that firmware of the PC's finds: an i440FX and a PIIX3, with ROM at the top of 4 GiB.
//!
//! Problem: firmware reads and writes chipset registers of machines that it knows, and expects what lies
//! behind them: ROM that becomes RAM, interrupts that it routes, tables that it places. Choice: the machine
//! that all firmware of virtual machines knows, as far as firmware looks at it. Kernels that are loaded
//! directly keep the board without (`board.rs`), which has nothing of the kind. Rejected: a Q35 (the same
//! for firmware; an AHCI controller is plugged in where one is asked for).
//!
//! Where the devices are: slot 0 the host bridge; slot 1 the ISA bridge, the disk controller of old,
//! USB of old where it is asked for, and power management; slot 2 is kept for a display; everything else from slot 3 on.

mod boot_order;
mod debug_console;
mod drives;
mod files;
mod image;
mod shadow;
mod variables;

use crate::layout::PC_PCI_WINDOW_64_LEN;

pub(crate) use boot_order::{BootPlaces, boot_order};
pub(crate) use debug_console::{DebugConsole, PORTS as DEBUG_PORTS};
pub(crate) use drives::{
    CD_NAME, CD_PLACE, FLOPPY_NAME, FloppyDrive, SataDrives, drives, floppy_drive, open_disk,
    sata_drives,
};
pub(crate) use files::{FilesRequest, files};
pub(crate) use image::FirmwareImage;
pub(crate) use shadow::{ShadowMapper, ShadowWrites};

/// Bits of addresses that there are at least: what virtual machines have had for long.
const PHYSICAL_BITS: u32 = 40;
/// Bits of addresses that processors with long mode may have at most.
const MOST_PHYSICAL_BITS: u32 = 52;

/// How wide a guest's physical addresses need to be for `memory` bytes and the windows above it. Not
/// wider: OVMF maps all that a processor can address, partly in pages of 2 MiB, and the tables of 46 bits
/// do not fit into a small guest.
#[must_use]
pub(crate) fn physical_bits(memory: u64) -> u32 {
    let top = memory.saturating_add(4 * PC_PCI_WINDOW_64_LEN);
    let bits = u64::BITS - top.leading_zeros();
    bits.clamp(PHYSICAL_BITS, MOST_PHYSICAL_BITS)
}

/// The function of the display, which firmware looks at before others.
pub(crate) const DISPLAY_SLOT: u8 = 2;
pub(crate) const FIRST_FREE_SLOT: u8 = 3;
/// The ISA bridge and its companions.
pub(crate) const SOUTH_BRIDGE_SLOT: u8 = 1;
pub(crate) const IDE_FUNCTION: u8 = 1;
pub(crate) const USB_FUNCTION: u8 = 2;
/// The function's interrupt pin, INTD#.
pub(crate) const USB_PIN: u8 = 4;
pub(crate) const POWER_MANAGEMENT_FUNCTION: u8 = 3;

/// Where OVMF switches the machine off: it takes the power management block to be where it would have put it.
pub(crate) const OVMF_PM_BASE: u64 = 0xb000;

/// PCI's four wires are inputs of the I/O APIC of their own, from this one on, besides the ISA interrupt
/// that they are routed to: so an operating system that uses the I/O APIC need not know the routes.
pub(crate) const FIRST_PCI_GSI: u8 = 16;

/// Which of the four wires the pin of a slot (0 is INTA) drives, as PIIX3 boards are soldered.
#[must_use]
pub(crate) fn pci_wire(slot: u32, pin: u32) -> usize {
    // A remainder.
    ((slot + 3 + pin) % 4) as usize
}

#[cfg(test)]
mod tests;
