//! The machine: the only crate that joins devices and engines.
//!
//! Threads of a running guest: one for each vCPU, which answers its own exits and so calls devices;
//! one for all timers; one that reads the host's files for serial ports and consoles; and those that
//! virtio devices have for their queues. Whoever called [`Machine::run`] waits for requests
//! ([`MachineControl`]): it stops all vCPUs before it pauses, resets, or ends the guest. When `run`
//! returns, no vCPU, timer or device of the guest does anything.
//!
//! Locks, in the order in which they may be taken: device; interrupt wire, PIC, I/O APIC, local APIC
//! (see [`devices::irqchip`]); a vCPU's letter box; timers. A device that asks something of the
//! machine only sets a flag.
#![allow(
    clippy::cast_possible_truncation,
    reason = "register and table fields are narrower than the host's words; each value is bounded where it is made"
)]

mod a20;
mod board;
pub mod boot;
pub mod bus;
mod chardev;
mod choice;
mod code_seal;
mod config;
mod control;
mod disks;
mod error;
mod firmware;
pub mod fw_cfg;
pub mod layout;
mod limits;
mod machine;
mod measured;
mod migration;
mod msrs;
mod network;
mod parallel;
mod pc;
mod pci_windows;
mod perf_map;
mod peripherals;
mod plugging;
mod ports;
mod recorded;
mod rehearsal;
mod saved;
mod screen;
mod signal;
mod sleep;
mod sound;
mod stats;
mod survey;
mod sync;
pub mod tables;
mod threads;
mod throttle;
pub mod time;
mod tpm;
mod vcpu;
mod wires;

pub use code_seal::{LEN as CODE_SEAL_LEN, code_seal};
pub use config::{
    Action, BootFrom, BridgeOptions, Chardev, ConsoleConfig, Direction, DiskBus, DiskConfig,
    DiskFormat, DiskTrust, EngineChoice, FirmwareConfig, FolderConfig, FolderOptions, Forward,
    MachineConfig, NetworkBoot, NetworkConfig, NetworkModel, NetworkOptions, NetworkWay, Overlay,
    ParallelConfig, Peers, Protocol, Reboot, Rule, Rules, SoundCard, SoundConfig, Subnet,
    TpmConfig, Transport, UsbConfig, UsbController, UserOptions, VariablesConfig, VsockConfig,
    lease,
};
pub use control::{FullDisk, MachineControl, MemoryReport, Outcome};
pub use engine_soft::{begin_kin, is_of_kin};
// What a device made elsewhere needs, so that its crate need know no floor below this one.
pub use crate::migration::{
    LateMemory, Migration, MigrationOrder, MigrationPhase, MigrationProgress,
};
pub use ::migration::{Bounds, Fetcher, Fetching, FrameError, Kind, Received, Receiver, frame};
pub use devices::i8042::MouseEvent;
pub use devices::vga::Screen;
pub use devices::virtio::{BalloonReport, HotplugMemoryReport, MemoryStatistics, TabletEvent};
pub use devices::{Device, DeviceState, DriveReport, Line, RestoreError};
pub use display::{Picture, PixelFormat, Rect, TIGHT_MAX_WIDTH, Tight, raw, tight, zrle};
pub use error::MachineError;
pub use limits::{Limits, RateLimit};
pub use machine::{MAX_VCPUS, Machine, processor};
pub use memory::{Gpa, Layer, PageSet, Recording, Run, Userfault, index_of, read_index};
pub use perf_map::Symbols;
pub use plugging::{Plug, PluggedReport};
pub use recorded::{Beginning, RecordOrder, Recorded};
pub use rehearsal::rehearse;
pub use saved::SavedMachine;
pub use screen::{Card, ScreenConfig};
pub use stats::{MachineStats, VcpuReport};
pub use survey::{EngineFinding, survey};
