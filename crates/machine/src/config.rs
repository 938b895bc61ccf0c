//! What a machine is made from. Frozen values: the running machine never changes them.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use block::{BlockDevice, Counted};
pub use block::{Format as DiskFormat, Overlay, Trust as DiskTrust};
pub use folder::FolderOptions;
pub use netio::{Action, Direction, Peers, Rule, Rules, Transport};
pub use netio::{
    BridgeOptions, Forward, NetworkBoot, NetworkOptions, Protocol, Subnet, UserOptions, lease,
};

use crate::limits::Limits;
use crate::screen::ScreenConfig;

/// Which engine runs the guest.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// KVM where a measurement finds it worth having, else a software engine.
    #[default]
    Auto,
    Kvm,
    Translator,
    /// The translator, each unit checked against the interpreter: for one vCPU, to find faults of ours.
    Lockstep,
    Interpreter,
}

/// What a guest reaches USB by.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum UsbController {
    #[default]
    Xhci,
    /// Of systems that know no xHCI: USB 1, two ports each.
    Uhci,
}

/// USB.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct UsbConfig {
    pub controller: UsbController,
    /// A tablet and a keyboard, also where no disk hangs there.
    pub hands: bool,
}

/// What a guest's wish for a reset does.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Reboot {
    /// The machine starts again, from the same files.
    #[default]
    Restart,
    /// The run ends with [`crate::Outcome::Reset`].
    Exit,
}

/// A guest.
#[derive(Debug)]
pub struct MachineConfig {
    pub vcpus: u32,
    /// To how many it can grow while the guest runs: no less than `vcpus`.
    pub max_vcpus: u32,
    /// In bytes.
    pub memory: u64,
    /// To what it can grow while the guest runs, in bytes: no less than `memory`.
    pub max_memory: u64,
    pub engine: EngineChoice,
    /// What [`x86::cpuid::CpuChoice::parse`] reads: a model, perhaps with changes.
    pub cpu_model: String,
    pub kernel: PathBuf,
    /// What starts instead of the kernel, if anything: then there is none.
    pub firmware: Option<FirmwareConfig>,
    /// Laid one behind the other (multiboot: one module each).
    pub initrd: Vec<PathBuf>,
    pub command_line: String,
    pub disks: Vec<DiskConfig>,
    /// COM1 and COM2.
    pub serial: [Option<Chardev>; 2],
    /// LPT1, with a printer.
    pub parallel: Option<ParallelConfig>,
    pub console: Option<ConsoleConfig>,
    pub network: Option<NetworkConfig>,
    /// More network cards, each in a slot that is said.
    pub cards: Vec<NetworkConfig>,
    pub folders: Vec<FolderConfig>,
    pub vsock: Option<VsockConfig>,
    pub sound: Option<SoundConfig>,
    pub tpm: Option<TpmConfig>,
    /// A VGA and a monitor.
    pub screen: Option<ScreenConfig>,
    pub usb: UsbConfig,
    /// A virtio entropy device.
    pub rng: bool,
    /// A virtio memory balloon, by which memory that the guest does not need returns to the host.
    pub balloon: bool,
    pub reboot: Reboot,
    pub limits: Limits,
    /// Samples where the time of each vCPU goes, for [`crate::MachineStats`].
    pub times: bool,
    /// The host may merge pages of its memory with equal ones.
    pub merges_memory: bool,
}

/// Firmware of a PC's: SeaBIOS and its like.
#[derive(Debug, Default)]
pub struct FirmwareConfig {
    pub image: PathBuf,
    /// Where it says what it does.
    pub log: Option<OwnedFd>,
    /// What it boots from, the first choice first. Empty for its own order.
    pub boot: Vec<BootFrom>,
    /// Its console is the first serial port.
    pub serial_console: bool,
    /// A CD-ROM drive, perhaps with the image of a disc in it.
    pub cd: Option<Option<PathBuf>>,
    /// It hangs on the AHCI controller, rather than on the one of old.
    pub cd_sata: bool,
    /// The image of the disk in the floppy drive.
    pub floppy: Option<PathBuf>,
    /// There is a floppy drive without a disk, too.
    pub floppy_drive: bool,
    /// What is open already and lies in the drive of this name, instead of the file above.
    pub media: Vec<(String, Arc<dyn BlockDevice>)>,
    /// What firmware keeps its variables in, if it does.
    pub variables: Option<VariablesConfig>,
}

/// Flash with variables.
#[derive(Debug, Clone)]
pub struct VariablesConfig {
    /// What every guest begins with.
    pub template: PathBuf,
    /// Where this one's are kept. Without, they are gone with the machine.
    pub store: Option<PathBuf>,
}

/// Something that firmware can boot from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootFrom {
    /// The first disk.
    Disk,
    Cd,
    Floppy,
    Network,
}

/// A disk, in the order in which the guest finds them.
#[derive(Debug, Clone)]
pub struct DiskConfig {
    pub path: PathBuf,
    pub format: DiskFormat,
    pub read_only: bool,
    pub overlay: Overlay,
    /// Overlays that were kept before, between the image and one that is: the lowest first.
    pub layers: Vec<PathBuf>,
    /// Which other files the image may name as a part of it.
    pub trust: DiskTrust,
    /// What is open already, instead of the file at `path`.
    pub opened: Option<Arc<dyn BlockDevice>>,
    /// What the guest reads as the disk's serial number.
    pub serial: String,
    pub bus: DiskBus,
    /// By which it is taken out.
    pub id: String,
    /// The PCI slot, where it is to have a certain one.
    pub slot: Option<u8>,
    /// It has been taken out; what comes after it is where it was.
    pub gone: bool,
    /// What it carries is counted there.
    pub traffic: Arc<block::Traffic>,
}

impl DiskConfig {
    /// The disk as its guest has it: what others read and write is not counted.
    pub(crate) fn counted(&self, disk: Arc<dyn BlockDevice>) -> Arc<dyn BlockDevice> {
        Arc::new(Counted::new(disk, Arc::clone(&self.traffic)))
    }
}

/// How a disk is reached.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum DiskBus {
    #[default]
    Virtio,
    /// By the disk controller of old, on boards with firmware: three at most.
    Ide,
    /// Each by an NVMe controller of its own.
    Nvme,
    /// All by one AHCI controller.
    Sata,
    /// All by one xHCI controller, as disks on USB sticks are.
    Usb,
}

/// A folder of the host that the guest has.
#[derive(Debug, Clone)]
pub struct FolderConfig {
    pub path: PathBuf,
    /// What the guest mounts it by: at most 36 bytes.
    pub tag: String,
    pub options: FolderOptions,
}

/// A parallel port whose printer prints to a file.
#[derive(Debug, Clone)]
pub struct ParallelConfig {
    /// What is printed is appended to it. Without, the printer is out of paper.
    pub file: Option<PathBuf>,
    /// How long the file may become, in bytes.
    pub limit: u64,
}

/// A sound card, and the file that gets what it plays.
#[derive(Debug, Clone)]
pub struct SoundConfig {
    pub card: SoundCard,
    /// Without, nobody hears it.
    pub wave: Option<PathBuf>,
}

/// Which sound card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SoundCard {
    /// Intel's 82801AA, which systems from 1998 on know.
    Ac97,
    Virtio,
    /// Creative's Sound Blaster 16, which programs for DOS know.
    Sb16,
    /// None: the PC speaker.
    Speaker,
}

/// A TPM 2.0: the sockets of an swtpm, by which it has commands and is controlled. It is at power-on, or off.
#[derive(Debug)]
pub struct TpmConfig {
    pub data: OwnedFd,
    pub control: OwnedFd,
}

/// A virtio socket device.
#[derive(Debug)]
pub struct VsockConfig {
    pub cid: u32,
    /// Listens where programs of the host connect.
    pub listener: Option<OwnedFd>,
    /// Where connections that the guest makes are asked for, as [`devices::virtio::vsock::outward`]
    /// has it.
    pub outward: Option<OwnedFd>,
}

/// A network card.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    pub mac: [u8; 6],
    pub way: NetworkWay,
    /// What may come to the guest and leave it, until that is changed.
    pub rules: Rules,
    /// As [`DiskConfig::id`], [`DiskConfig::slot`] and [`DiskConfig::gone`].
    pub id: String,
    pub slot: Option<u8>,
    pub gone: bool,
    pub model: NetworkModel,
    /// The file of what firmware boots from the network by.
    pub rom: Option<PathBuf>,
    /// What it carries is counted there.
    pub traffic: Arc<netio::Traffic>,
}

/// Which card it is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum NetworkModel {
    #[default]
    Virtio,
    E1000,
    Rtl8139,
}

/// Where a network card's packets go.
#[derive(Debug, Clone)]
pub enum NetworkWay {
    /// Through the sockets of this process.
    User(UserOptions),
    /// To a tap interface of the host, by name.
    Tap(String),
    /// To a bridge, by the queues of a tap interface that stands on it.
    Bridge(BridgeOptions, Vec<Arc<OwnedFd>>),
}

/// The host's ends of a character device. Either may be missing; both may be one terminal.
#[derive(Debug)]
pub struct Chardev {
    pub input: Option<OwnedFd>,
    pub output: Option<OwnedFd>,
}

/// A virtio console: hvc0, and ports that programs in the guest open by name.
#[derive(Debug)]
pub struct ConsoleConfig {
    pub console: Option<Chardev>,
    pub ports: Vec<(String, Chardev)>,
}
