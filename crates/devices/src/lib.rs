//! Devices of the machine. Each knows offsets and lines, never its address, its thread, the engine
//! or the language on the other side (law 4).

pub mod acpi_cpus;
pub mod acpi_pm;
pub mod acpi_slots;
pub mod ahci;
mod device;
mod edid;
pub mod ethernet;
pub mod floppy;
pub mod i8042;
pub mod ide;
pub mod irqchip;
pub mod isa_dma;
pub mod nvme;
mod pace;
pub mod parallel;
pub mod pc;
pub mod pci;
pub mod pflash;
pub mod port92;
mod ports;
mod scsi;
pub mod serial;
pub mod sound;
#[doc(hidden)]
pub mod testing;
pub mod timers;
pub mod tpm;
mod upgrade;
pub mod usb;
pub mod vga;
pub mod virtio;

pub use device::{
    Clock, Device, DeviceState, Line, Lines, MsiSink, RestoreError, Timer, decode_state,
    encode_state,
};
pub use pace::Pace;
pub use ports::PortRange;
pub use scsi::{DriveReport, RemovableDrive};
pub use upgrade::{Step, decode_upgraded, step};
