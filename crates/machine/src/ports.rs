//! The ports and interrupts of a PC, in the one place that wires them.

use devices::{acpi_cpus, acpi_pm, acpi_slots, parallel};

/// A UART's first port and its interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SerialPort {
    pub(crate) first: u16,
    pub(crate) irq: u8,
}

pub(crate) const SERIAL: [SerialPort; 2] = [
    SerialPort {
        first: 0x3f8,
        irq: 4,
    },
    SerialPort {
        first: 0x2f8,
        irq: 3,
    },
];

/// The parallel port's first port and its interrupt.
pub(crate) const PARALLEL: u16 = parallel::PORTS[0].first;
pub(crate) const PARALLEL_IRQ: u8 = 7;
pub(crate) const PIT_IRQ: u8 = 0;
pub(crate) const KEYBOARD_IRQ: u8 = 1;
pub(crate) const RTC_IRQ: u8 = 8;
pub(crate) const MOUSE_IRQ: u8 = 12;
/// The floppy disk controller's interrupt and its channel of ISA's DMA.
pub(crate) const FLOPPY_IRQ: u8 = 6;
pub(crate) const FLOPPY_DMA: u8 = 2;
/// Of the two channels of the disk controller of old.
pub(crate) const IDE_IRQS: [u8; 2] = [14, 15];
/// The ACPI interrupt.
pub(crate) const SCI: u8 = 9;

/// PCI's INTA to INTD end in these, shared and level-triggered. Inputs of both PIC and I/O APIC, so
/// that a kernel without an APIC driver has its interrupts too.
pub(crate) const PCI_IRQS: [u8; 2] = [10, 11];

/// Which interrupt a slot's pin (0 is INTA) drives: swizzled as bridges do, to spread the load.
#[must_use]
pub(crate) fn pci_irq(device: u32, pin: u32) -> u8 {
    PCI_IRQS[((device + pin) % 2) as usize]
}

/// The power management block; a register of it is this plus the device's offset.
const PM_BASE: u16 = acpi_pm::PORTS[0].first;
pub(crate) const PM1_EVENT: u16 = PM_BASE + acpi_pm::PM1_EVENT as u16;
pub(crate) const PM1_CONTROL: u16 = PM_BASE + acpi_pm::PM1_CONTROL as u16;
pub(crate) const PM_TIMER: u16 = PM_BASE + acpi_pm::PM_TIMER as u16;
pub(crate) const GPE0: u16 = PM_BASE + acpi_pm::GPE0 as u16;
pub(crate) const PM_LEN: u8 = acpi_pm::PORTS[0].count as u8;
/// The registers of processors that come and go, and the event that they raise.
pub(crate) const CPUS: u16 = acpi_cpus::PORTS[0].first;
pub(crate) const CPU_EVENT: u8 = 1;
/// The registers of PCI slots whose devices come and go, and the event that they raise.
pub(crate) const SLOTS: u16 = acpi_slots::PORTS[0].first;
pub(crate) const SLOT_EVENT: u8 = 3;
/// The event that tells of another generation.
pub(crate) const GENERATION_EVENT: u8 = 2;
pub(crate) const RESET: u16 = 0xcf9;
/// Full reset by the reset control register.
pub(crate) const RESET_VALUE: u8 = 6;
/// CMOS offset of the century.
pub(crate) const RTC_CENTURY: u8 = 0x32;
