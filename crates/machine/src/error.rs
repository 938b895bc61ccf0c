//! Why a machine cannot be made, run, saved or restored. Never what a guest does wrong.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::boot::BootError;
use crate::bus::BusError;

#[derive(Debug, Error)]
pub enum MachineError {
    #[error("a guest needs at least {} KiB of memory, and {memory} bytes were asked for", least / 1024)]
    TooLittleMemory { memory: u64, least: u64 },
    #[error("a guest can have {most} bytes of memory at most, and {memory} were asked for")]
    TooMuchMemory { memory: u64, most: u64 },
    #[error("memory of {memory} bytes is not a multiple of 4096")]
    OddMemory { memory: u64 },
    #[error("a guest has 1 to {most} processors, and {vcpus} were asked for")]
    Vcpus { vcpus: u32, most: u32 },
    /// Its message is the whole sentence.
    #[error(transparent)]
    CpuModel(#[from] x86::cpuid::InvalidCpu),
    #[error("cannot make the guest's memory")]
    Memory {
        #[from]
        source: memory::MemoryError,
    },
    /// Its message is the whole sentence.
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error("the firmware {} has {len} bytes: a ROM has 4 KiB to 16 MiB, in whole blocks of 4 KiB", path.display())]
    FirmwareSize { path: PathBuf, len: u64 },
    #[error("cannot use firmware's variables {}", path.display())]
    Variables { path: PathBuf, source: io::Error },
    #[error("the disk {} is as large as no floppy disk", path.display())]
    FloppySize { path: PathBuf },
    #[error("the disk controller of old has room for {most} disks, on a guest with firmware")]
    TooManyIdeDisks { most: usize },
    #[error("a guest has at most {most} SATA drives, of which its CD-ROM drive may be one")]
    TooManySataDrives { most: usize },
    #[error("a guest has at most {most} USB disks")]
    TooManyUsbDisks { most: usize },
    #[error("cannot use the disk {}", path.display())]
    Disk {
        path: PathBuf,
        source: block::BlockError,
    },
    #[error("cannot write what the guest has written to {disk}")]
    Flush { disk: String, source: io::Error },
    #[error("cannot copy what the guest has written to {disk}")]
    SaveOverlay { disk: String, source: io::Error },
    #[error("cannot use the folder {}", path.display())]
    Folder {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot connect the guest's network")]
    Network {
        #[from]
        source: netio::UserError,
    },
    #[error("cannot connect the guest's network")]
    Tap {
        #[from]
        source: netio::TapError,
    },
    #[error("the engine {engine} cannot run")]
    Engine {
        engine: &'static str,
        source: engine::EngineError,
    },
    #[error("cannot attach a device")]
    Attach {
        #[from]
        source: BusError,
    },
    #[error("cannot write what the guest plays to {}", path.display())]
    Sound { path: PathBuf, source: io::Error },
    #[error("KVM has the PC speaker to itself: it is heard with --engine translator")]
    Speaker,
    #[error("cannot write what the guest prints to {}", path.display())]
    Parallel { path: PathBuf, source: io::Error },
    #[error("the guest's TPM does not start")]
    Tpm { source: devices::tpm::TpmError },
    #[error("cannot read what the guest's TPM holds")]
    SaveTpm { source: devices::tpm::TpmError },
    #[error("cannot read the option ROM {}", path.display())]
    Rom { path: PathBuf, source: io::Error },
    #[error("the option ROM {} cannot be used", path.display())]
    OptionRom {
        path: PathBuf,
        source: devices::pci::OptionRomError,
    },
    #[error("cannot plug a device into the PCI bus: {what}")]
    Pci { what: String },
    #[error("this host's kernel does not merge memory (KSM)")]
    Merge { source: io::Error },
    #[error("there is no PCI slot left for another device: there are {most}")]
    NoSlot { most: u8 },
    #[error("the guest has a device {id} already")]
    IdTaken { id: String },
    #[error("the guest has no drive {id}")]
    NoDrive { id: String },
    #[error("this is no medium for the drive {id}: a floppy disk has 160 KB to 2.88 MB")]
    NoMedium { id: String },
    #[error("the guest has no device {id}")]
    NotPlugged { id: String },
    #[error(
        "the guest began as it was saved by an Innkeeper that could not plug devices in: start it anew"
    )]
    NoHotPlug,
    #[error("the host has no {what} left")]
    Host {
        what: &'static str,
        source: io::Error,
    },
    #[error("cannot make the map for perf {}", path.display())]
    PerfMap { path: PathBuf, source: io::Error },
    #[error("the engine {engine} makes no code of its own that perf could be told of")]
    NoCode { engine: &'static str },
    #[error("the saved machine is damaged or of another version: {what}")]
    Saved { what: String },
    #[error("the memory of the saved machine cannot be used")]
    Layers {
        #[from]
        source: memory::LayerError,
    },
    #[error("the saved state of a processor cannot be taken")]
    Processor { source: engine::EngineError },
    #[error("the saved state of a device cannot be taken")]
    Device {
        #[from]
        source: devices::RestoreError,
    },
}
