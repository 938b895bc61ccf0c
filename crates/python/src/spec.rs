//! From the frozen dataclasses of Python to the machine's configuration.

use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use machine::{
    BootFrom, Card, Chardev, ConsoleConfig, DiskBus, DiskConfig, DiskFormat, DiskTrust,
    EngineChoice, FirmwareConfig, FolderConfig, FolderOptions, Limits, MachineConfig,
    NetworkConfig, NetworkWay, Overlay, ParallelConfig, RateLimit, Reboot, ScreenConfig, SoundCard,
    SoundConfig, TpmConfig, UsbConfig, UsbController, VariablesConfig, VsockConfig,
};
use pyo3::prelude::*;

use crate::disk::OpenDisk;
use crate::errors::raise;
use crate::fd_raw::duplicate;
use crate::network::NetworkSpec;

/// `innkeeper.machine.spec.MachineSpec`.
#[derive(Debug, FromPyObject)]
pub(crate) struct MachineSpec {
    kernel: Option<PathBuf>,
    firmware: Option<FirmwareSpec>,
    initrds: Vec<PathBuf>,
    command_line: String,
    pub(crate) vcpus: u32,
    pub(crate) memory: u64,
    growth: GrowthSpec,
    engine: String,
    cpu_model: String,
    disks: Vec<DiskSpec>,
    network: Option<NetworkSpec>,
    cards: Vec<NetworkSpec>,
    folders: Vec<FolderSpec>,
    screen: Option<ScreenSpec>,
    sound: Option<SoundSpec>,
    parallel: Option<ParallelSpec>,
    usb: bool,
    usb_controller: String,
    rng: bool,
    balloon: bool,
    reboots: bool,
    limits: LimitsSpec,
    times: bool,
    merges_memory: bool,
}

/// `innkeeper.machine.firmware.FirmwareSpec`.
#[derive(Debug, FromPyObject)]
struct FirmwareSpec {
    image: PathBuf,
    boot: Vec<String>,
    serial_console: bool,
    cdrom: Option<PathBuf>,
    cd_drive: bool,
    cd_bus: String,
    floppy: Option<PathBuf>,
    floppy_drive: bool,
    variables: Option<PathBuf>,
    store: Option<PathBuf>,
}

impl FirmwareSpec {
    fn into_config(self, py: Python<'_>) -> PyResult<FirmwareConfig> {
        let boot = self.boot.iter().map(|name| match name.as_str() {
            "disk" => Ok(BootFrom::Disk),
            "cd" => Ok(BootFrom::Cd),
            "floppy" => Ok(BootFrom::Floppy),
            "net" => Ok(BootFrom::Network),
            other => Err(unknown(py, "boot device", other)),
        });
        Ok(FirmwareConfig {
            image: self.image,
            log: None,
            boot: boot.collect::<PyResult<_>>()?,
            serial_console: self.serial_console,
            cd: self.cd_drive.then_some(self.cdrom),
            cd_sata: self.cd_bus == "sata",
            floppy: self.floppy,
            floppy_drive: self.floppy_drive,
            media: Vec::new(),
            variables: self.variables.map(|template| VariablesConfig {
                template,
                store: self.store,
            }),
        })
    }
}

/// `innkeeper.machine.growth.Growth`.
#[derive(Debug, FromPyObject)]
struct GrowthSpec {
    memory: Option<u64>,
    vcpus: Option<u32>,
}

/// `innkeeper.machine.limits.Limits`.
#[derive(Debug, FromPyObject)]
pub(crate) struct LimitsSpec {
    cpu: Option<f64>,
    disk: RateSpec,
    network: RateSpec,
}

/// `innkeeper.machine.limits.Rate`.
#[derive(Debug, FromPyObject)]
struct RateSpec {
    bytes: Option<u64>,
    operations: Option<u64>,
}

/// `innkeeper.machine.folder.FolderSpec`.
#[derive(Debug, FromPyObject)]
struct FolderSpec {
    path: PathBuf,
    tag: String,
    read_only: bool,
    owner: u32,
}

/// `innkeeper.machine.screen.ScreenSpec`.
#[derive(Debug, FromPyObject)]
struct ScreenSpec {
    card: String,
    memory: u64,
    width: u16,
    height: u16,
    rom: Option<PathBuf>,
    keyboard: bool,
}

/// `innkeeper.machine.sound.SoundSpec`.
#[derive(Debug, FromPyObject)]
struct SoundSpec {
    wave: Option<PathBuf>,
    model: String,
}

/// `innkeeper.machine.parallel.ParallelSpec`.
#[derive(Debug, FromPyObject)]
struct ParallelSpec {
    file: Option<PathBuf>,
    limit: u64,
}

/// `innkeeper.machine.spec.DiskSpec`.
#[derive(Debug, FromPyObject)]
pub(crate) struct DiskSpec {
    path: PathBuf,
    format: String,
    read_only: bool,
    overlay: String,
    overlay_path: Option<PathBuf>,
    layers: Vec<PathBuf>,
    trust_backing: bool,
    nbd: Option<String>,
    serial: String,
    bus: String,
    id: String,
    slot: Option<u8>,
    gone: bool,
}

/// `innkeeper.vm.wiring.Wiring`.
#[derive(Debug, FromPyObject)]
pub(crate) struct Wiring {
    com1: Option<Channel>,
    com2: Option<Channel>,
    console: Option<Channel>,
    ports: Vec<(String, Channel)>,
    vsock: Option<Vsock>,
    taps: Vec<i32>,
    disks: Vec<(String, Py<OpenDisk>)>,
    plugged: Vec<(String, Py<OpenDisk>)>,
    media: Vec<(String, Py<OpenDisk>)>,
    firmware_log: Option<i32>,
    tpm: Option<Tpm>,
}

/// `innkeeper.vm.wiring.Tpm`.
#[derive(Debug, FromPyObject)]
struct Tpm {
    data: i32,
    control: i32,
}

/// `innkeeper.vm.wiring.Vsock`.
#[derive(Debug, FromPyObject)]
struct Vsock {
    cid: u32,
    listener: Option<i32>,
    outward: Option<i32>,
}

/// `innkeeper.vm.wiring.Channel`.
#[derive(Debug, FromPyObject)]
struct Channel {
    input: Option<i32>,
    output: Option<i32>,
}

impl MachineSpec {
    /// # Errors
    /// When a name is none of those that the enums in `innkeeper.machine.spec` have, or a
    /// descriptor is not open.
    pub(crate) fn into_config(self, py: Python<'_>, wiring: Wiring) -> PyResult<MachineConfig> {
        let disks = self.disks.into_iter().map(|disk| disk.into_config(py));
        let cards = self.cards.into_iter().map(|card| card.into_config(py));
        let mut config = MachineConfig {
            vcpus: self.vcpus,
            max_vcpus: self.growth.vcpus.unwrap_or(0),
            memory: self.memory,
            max_memory: self.growth.memory.unwrap_or(0),
            engine: engine(py, &self.engine)?,
            cpu_model: self.cpu_model,
            kernel: self.kernel.unwrap_or_default(),
            firmware: self.firmware.map(|it| it.into_config(py)).transpose()?,
            initrd: self.initrds,
            command_line: self.command_line,
            disks: named(disks.collect::<PyResult<_>>()?),
            serial: [None, None],
            console: None,
            network: self.network.map(|it| it.into_config(py)).transpose()?,
            cards: cards.collect::<PyResult<_>>()?,
            folders: self.folders.into_iter().map(FolderConfig::from).collect(),
            vsock: None,
            screen: self.screen.map(ScreenConfig::from),
            sound: self.sound.map(|it| it.into_config(py)).transpose()?,
            parallel: self.parallel.map(ParallelConfig::from),
            tpm: None,
            usb: UsbConfig {
                controller: match self.usb_controller.as_str() {
                    "xhci" => UsbController::Xhci,
                    "uhci" => UsbController::Uhci,
                    other => return Err(unknown(py, "USB controller", other)),
                },
                hands: self.usb,
            },
            rng: self.rng,
            balloon: self.balloon,
            reboot: if self.reboots {
                Reboot::Restart
            } else {
                Reboot::Exit
            },
            limits: self.limits.into(),
            times: self.times,
            merges_memory: self.merges_memory,
        };
        wiring.connect(py, &mut config)?;
        Ok(config)
    }
}

/// Those of no other id are known by their numbers.
fn named(mut disks: Vec<DiskConfig>) -> Vec<DiskConfig> {
    for (number, disk) in disks.iter_mut().enumerate() {
        if disk.id.is_empty() {
            disk.id = format!("virtio{number}");
        }
    }
    disks
}

impl SoundSpec {
    fn into_config(self, py: Python<'_>) -> PyResult<SoundConfig> {
        let card = match self.model.as_str() {
            "ac97" => SoundCard::Ac97,
            "virtio" => SoundCard::Virtio,
            "sb16" => SoundCard::Sb16,
            "speaker" => SoundCard::Speaker,
            other => return Err(unknown(py, "sound card", other)),
        };
        Ok(SoundConfig {
            card,
            wave: self.wave,
        })
    }
}

impl From<ParallelSpec> for ParallelConfig {
    fn from(spec: ParallelSpec) -> ParallelConfig {
        ParallelConfig {
            file: spec.file,
            limit: spec.limit,
        }
    }
}

impl From<FolderSpec> for FolderConfig {
    fn from(spec: FolderSpec) -> FolderConfig {
        FolderConfig {
            path: spec.path,
            tag: spec.tag,
            options: FolderOptions {
                read_only: spec.read_only,
                owner: spec.owner,
            },
        }
    }
}

impl From<ScreenSpec> for ScreenConfig {
    fn from(spec: ScreenSpec) -> ScreenConfig {
        ScreenConfig {
            card: match spec.card.as_str() {
                "virtio" => Card::Virtio,
                _ => Card::Vga,
            },
            memory: spec.memory,
            width: spec.width,
            height: spec.height,
            rom: spec.rom,
            keyboard: spec.keyboard,
        }
    }
}

impl From<LimitsSpec> for Limits {
    fn from(spec: LimitsSpec) -> Limits {
        Limits {
            cpu: spec.cpu,
            disk: spec.disk.into(),
            network: spec.network.into(),
        }
    }
}

impl From<RateSpec> for RateLimit {
    fn from(spec: RateSpec) -> RateLimit {
        RateLimit {
            bytes: spec.bytes.and_then(NonZeroU64::new),
            operations: spec.operations.and_then(NonZeroU64::new),
        }
    }
}

impl DiskSpec {
    pub(crate) fn into_config(self, py: Python<'_>) -> PyResult<DiskConfig> {
        let format = DiskFormat::named(&self.format)
            .ok_or_else(|| unknown(py, "disk format", &self.format))?;
        let overlay = match (self.overlay.as_str(), self.overlay_path) {
            ("none", None) => Overlay::None,
            ("temporary", None) => Overlay::Temporary,
            ("keep", Some(path)) => Overlay::Keep(path),
            (other, _) => return Err(unknown(py, "overlay", other)),
        };
        let bus = match self.bus.as_str() {
            "virtio" => DiskBus::Virtio,
            "ide" => DiskBus::Ide,
            "nvme" => DiskBus::Nvme,
            "sata" => DiskBus::Sata,
            "usb" => DiskBus::Usb,
            other => return Err(unknown(py, "disk bus", other)),
        };
        Ok(DiskConfig {
            path: self.nbd.map_or(self.path, PathBuf::from),
            format,
            read_only: self.read_only,
            overlay,
            layers: self.layers,
            trust: if self.trust_backing {
                DiskTrust::Anywhere
            } else {
                DiskTrust::Beside
            },
            opened: None,
            serial: self.serial,
            bus,
            id: self.id,
            slot: self.slot,
            gone: self.gone,
            traffic: Arc::default(),
        })
    }
}

impl Wiring {
    fn connect(self, py: Python<'_>, config: &mut MachineConfig) -> PyResult<()> {
        if let Some(NetworkConfig {
            way: NetworkWay::Bridge(_, taps),
            ..
        }) = &mut config.network
        {
            let own = self.taps.iter().map(|tap| duplicate(*tap).map(Arc::new));
            *taps = own.collect::<Result<_, _>>().map_err(|error| {
                let what = format!("a queue of the guest's network is not open: {error}");
                raise(py, "HostFailure", (what,))
            })?;
        }
        for disk in &mut config.disks {
            let name = disk.path.to_string_lossy();
            let opened = self.disks.iter().find(|(uri, _)| *uri == name);
            disk.opened = opened.map(|(_, found)| found.get().device());
        }
        for disk in config.disks.iter_mut().filter(|disk| !disk.id.is_empty()) {
            let opened = self.plugged.iter().find(|(id, _)| *id == disk.id);
            if let Some((_, found)) = opened {
                found.get().is_all_of(disk);
            }
        }
        let open = |channel: Option<Channel>| channel.map(|it| it.open(py)).transpose();
        config.serial = [open(self.com1)?, open(self.com2)?];
        let console = open(self.console)?;
        let ports = self
            .ports
            .into_iter()
            .map(|(name, channel)| Ok((name, channel.open(py)?)))
            .collect::<PyResult<Vec<_>>>()?;
        if console.is_some() || !ports.is_empty() {
            config.console = Some(ConsoleConfig { console, ports });
        }
        if let Some(firmware) = &mut config.firmware {
            let media = self.media.iter();
            firmware.media = media
                .map(|(drive, medium)| (drive.clone(), medium.get().device()))
                .collect();
        }
        if let Some((firmware, log)) = config.firmware.as_mut().zip(self.firmware_log) {
            firmware.log = Some(descriptor(py, log)?);
        }
        if let Some(tpm) = self.tpm {
            config.tpm = Some(TpmConfig {
                data: descriptor(py, tpm.data)?,
                control: descriptor(py, tpm.control)?,
            });
        }
        if let Some(vsock) = self.vsock {
            let own = |fd: Option<i32>| fd.map(|fd| descriptor(py, fd)).transpose();
            config.vsock = Some(VsockConfig {
                cid: vsock.cid,
                listener: own(vsock.listener)?,
                outward: own(vsock.outward)?,
            });
        }
        Ok(())
    }
}

impl Channel {
    fn open(self, py: Python<'_>) -> PyResult<Chardev> {
        let own = |fd: Option<i32>| fd.map(|fd| descriptor(py, fd)).transpose();
        Ok(Chardev {
            input: own(self.input)?,
            output: own(self.output)?,
        })
    }
}

/// A duplicate of a descriptor of Python's.
pub(crate) fn descriptor(py: Python<'_>, fd: i32) -> PyResult<OwnedFd> {
    duplicate(fd).map_err(|error| {
        let what = format!("a descriptor of the guest is not open: {error}");
        raise(py, "HostFailure", (what,))
    })
}

fn engine(py: Python<'_>, name: &str) -> PyResult<EngineChoice> {
    Ok(match name {
        "auto" => EngineChoice::Auto,
        "kvm" => EngineChoice::Kvm,
        "translator" => EngineChoice::Translator,
        "lockstep" => EngineChoice::Lockstep,
        "interpreter" => EngineChoice::Interpreter,
        other => return Err(unknown(py, "engine", other)),
    })
}

pub(crate) fn unknown(py: Python<'_>, what: &str, name: &str) -> PyErr {
    raise(
        py,
        "InvalidInput",
        (format!("there is no {what} {name:?}"),),
    )
}
