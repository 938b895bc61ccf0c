//! PCI: configuration space, base address registers, MSI-X, and the root that finds the function
//! behind an address.
//!
//! A guest may move a base address register at any time, so an access is looked up by what the
//! registers hold now: the machine forwards whole windows to the root, and nothing is remapped.
//! Spec: PCI Local Bus Specification 3.0; PCI Express Base Specification, "Enhanced Configuration
//! Access Mechanism".
//!
//! How a machine wires it:
//! ```ignore
//! let root = PciRoot::new(PciWindows { memory32: 0xc000_0000..0xe000_0000, memory64: None, io: 0xc000..0xd000 });
//! let sink: Arc<dyn MsiSink> = …;                       // the local APICs
//! let gsi = [SharedLine::new(line16), …, SharedLine::new(line19)];   // level, active low in ACPI
//! let wire = gsi[intx_index(1, 1)].input();             // device 1, pin A
//! root.insert(DeviceFunction::new(1, 0), VirtioPci::new(device, memory, sink, wire)?)?;
//! root.set_interrupt_line(DeviceFunction::new(1, 0), 16);
//! root.assign_bars()?;                                  // stands in for firmware, also after a reset
//! bus.attach_ports(0xcf8, 8, ConfigPorts::new(root.clone(), lines));  // saves the state of all functions
//! bus.attach_mmio(0xe000_0000, 0x10_0000, Ecam::new(root.clone()));   // bus 0: 1 MiB; MCFG says 0..=0
//! bus.attach_mmio(0xc000_0000, len, MemoryWindow::new(root.clone(), 0xc000_0000));
//! bus.attach_ports(0xc000, 0x1000, IoWindow::new(root.clone(), 0xc000));
//! // Around a save: root.quiesce(); …; root.resume(). After a restore: root.resume().
//! ```

mod access;
mod allocator;
mod config;
mod function;
mod host_bridge;
mod intx;
mod msi;
mod msix;
mod option_rom;
mod pin;
mod root;

pub use access::{ConfigPorts, Ecam, IoWindow, MemoryWindow};
pub use allocator::{AssignError, PciWindows};
pub use config::{
    BarKind, BarMapping, COMMAND, COMMAND_BUS_MASTER, COMMAND_INTX_DISABLE, COMMAND_IO,
    COMMAND_MEMORY, ConfigSpace, ConfigState, EXPANSION_ROM, Identity, Space,
};
pub(crate) use config::{STATUS, STATUS_INTX};
pub use function::{DeviceFunction, PciFunction};
pub use host_bridge::HostBridge;
pub use intx::{SharedLine, intx_index};
pub(crate) use msi::Msi;
pub use msix::{MSIX_CAPABILITY, Msix, MsixState, msix_capability};
pub use option_rom::{OptionRom, OptionRomError};
pub(crate) use pin::Pin;
pub use root::{InsertError, PciRoot, SharedFunction};
