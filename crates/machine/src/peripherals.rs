//! The devices that a description asks for, and those that every PC has.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ::migration::Tracked;
use block::BlockDevice;
use devices::acpi_cpus::{self, AcpiCpus, AcpiCpusParts};
use devices::acpi_pm::{self, AcpiPm, AcpiPmParts, TimerWidth};
use devices::acpi_slots::AcpiSlots;
use devices::i8042::{self, I8042};
use devices::port92::{self, Port92};
use devices::serial::{self, Serial};
use devices::sound::Wave;
use devices::timers::pit::{self, Pit};
use devices::timers::rtc::{self, Rtc, RtcMemory};
use devices::tpm::Tpm;
use devices::virtio::{
    Balloon, Console, ConsoleHandle, Fs, HotplugMemory, Keyboard, Port, Rng, RngLimit, Tablet,
    Vsock, VsockOptions,
};
use devices::{Line, Lines};
use folder::Folder;
use rustix::fs::{Mode, OFlags};

use crate::MachineError;
use crate::board::Board;
use crate::boot;
use crate::bus::SharedDevice;
use crate::chardev::{Abandon, FdOutput, Gathered, Input, Inputs, Waker};
use crate::config::{Chardev, ConsoleConfig, FolderConfig, MachineConfig, VsockConfig};
use crate::control::MachineControl;
use crate::disks;
use crate::firmware::Facts;
use crate::fw_cfg::{self, FwCfg};
use crate::layout::LOW_RAM_LIMIT;
use crate::network;
use crate::parallel;
use crate::pc::{self, BootPlaces, DebugConsole, FilesRequest};
use crate::plugging::{self, Plugged};
use crate::ports;
use crate::screen::{self, MachineScreen};
use crate::signal::{Presence, VcpuSignal};
use crate::sound;
use crate::sync::lock;
use crate::tpm;

/// What of the devices the machine needs later.
#[derive(Debug)]
pub(crate) struct Peripherals {
    pub(crate) inputs: Inputs,
    pub(crate) console: Option<ConsoleHandle>,
    /// By controllers that are not virtio.
    pub(crate) old_disks: Vec<Arc<dyn BlockDevice>>,
    /// Devices that may go, by name.
    pub(crate) plugged: Vec<Plugged>,
    /// By which the guest is told of them.
    pub(crate) slots: Arc<Mutex<AcpiSlots>>,
    /// The guest has found these registers in its tables.
    pub(crate) hot_plug: bool,
    pub(crate) abandon: Abandon,
    /// Power management, which wakes the machine.
    pub(crate) power: Arc<Mutex<AcpiPm>>,
    pub(crate) screen: Option<MachineScreen>,
    pub(crate) tpm: Option<Arc<Mutex<Tpm>>>,
    /// Absent where processors do not come and go.
    pub(crate) cpus: Option<Arc<Mutex<AcpiCpus>>>,
}

/// The RTC's interrupt line, which power management watches: an alarm wakes a machine from S3.
#[derive(Debug)]
struct WatchedLine {
    line: Arc<dyn Line>,
    power: Arc<Mutex<AcpiPm>>,
    high: AtomicBool,
}

impl Line for WatchedLine {
    fn set(&self, high: bool) {
        self.line.set(high);
        let was_high = self.high.swap(high, Ordering::Relaxed);
        if high && !was_high {
            lock(&self.power).rtc_alarm();
        }
    }
}

/// A general-purpose event of power management.
#[derive(Debug)]
struct EventLine {
    event: u8,
    power: Arc<Mutex<AcpiPm>>,
}

impl Line for EventLine {
    fn set(&self, high: bool) {
        if high {
            lock(&self.power).raise_gpe(self.event);
        }
    }
}

/// Adds everything. Files of character devices are taken out of `config`.
pub(crate) fn add(
    board: &mut Board,
    config: &mut MachineConfig,
    lines: &Arc<dyn Lines>,
    control: &MachineControl,
    signals: &[Arc<VcpuSignal>],
    facts: &Facts,
) -> Result<Peripherals, MachineError> {
    let waker = Waker::new().map_err(|source| MachineError::Host {
        what: "file descriptor",
        source,
    })?;
    add_legacy(board, lines, control)?;
    // First of all, so that it has the address that its size asks for.
    let screen = add_screen(board, config, control)?;
    let power = add_power_management(board, lines, control)?;
    let firmware = config.firmware.as_ref();
    let floppy = firmware.map(|it| pc::floppy_drive(it, control));
    let floppy = floppy.transpose()?.flatten();
    let kind = floppy.as_ref().map(|drive| drive.kind);
    let heard = sound::speaker(config.sound.as_ref())?;
    add_clocks(board, config, &power, kind, heard)?;
    if config.firmware.is_some()
        && let Some(tray) = board.add_floppy(floppy)?
    {
        control.connect_drive(pc::FLOPPY_NAME, Arc::new(tray));
    }
    let slots = add_slots(board, &power, control)?;
    let cpus = add_cpus(board, config, &power, control, signals)?;
    if let Some(cpus) = &cpus {
        control.connect_cpus(Arc::clone(cpus));
    }
    let mut made = Peripherals {
        inputs: Inputs {
            list: Vec::new(),
            waker,
        },
        console: None,
        old_disks: Vec::new(),
        plugged: Vec::new(),
        slots,
        hot_plug: true,
        abandon: Abandon::new(control.clone()),
        power,
        screen,
        tpm: config
            .tpm
            .take()
            .map(|it| tpm::add(board, it))
            .transpose()?,
        cpus,
    };
    for (index, chardev) in config.serial.iter_mut().enumerate() {
        made.add_serial(board, index, chardev.take())?;
    }
    if let Some(wanted) = &config.parallel {
        parallel::add(board, wanted)?;
    }
    let mut places = BootPlaces::default();
    made.old_disks
        .extend(disks::add_old_disks(board, config, control)?);
    made.add_disks(board, config, control, &mut places)?;
    for folder in &config.folders {
        add_folder(board, folder, control)?;
    }
    if let Some(console) = config.console.take() {
        made.add_console(board, console, control)?;
    }
    made.add_cards(board, config, control, &mut places)?;
    if let Some(wanted) = &config.sound {
        sound::add(board, wanted)?;
    }
    if config.rng {
        board.add_virtio(Rng::new(RngLimit::default()))?;
    }
    if config.balloon {
        let balloon = Balloon::new(board.memory().clone());
        control.connect_balloon(balloon.handle());
        board.add_virtio(balloon)?;
    }
    if let Some(region) = board.memory().pluggable() {
        let device = HotplugMemory::new(board.memory().clone(), region);
        control.connect_hotplug_memory(device.handle());
        board.add_virtio(device)?;
    }
    control.connect_memory(config.memory, board.memory().clone());
    if let Some(vsock) = config.vsock.take() {
        add_vsock(board, vsock, control)?;
    }
    let facts = Facts {
        slots: board.hot_slots(),
        ..facts.clone()
    };
    made.add_firmware(board, config, &facts, places)?;
    board.assign_pci()?;
    Ok(made)
}

impl Peripherals {
    /// All that the guest writes to.
    pub(crate) fn disks(&self) -> impl Iterator<Item = &dyn BlockDevice> {
        let plugged = self.plugged.iter().filter_map(|it| it.disk.as_deref());
        let plugged = plugged.map(|disk| -> &dyn BlockDevice { disk });
        self.old_disks.iter().map(|disk| &**disk).chain(plugged)
    }

    /// Those that a migration can copy, by their number in the description.
    pub(crate) fn tracked(&self) -> impl Iterator<Item = (usize, &Arc<Tracked>)> {
        let plugged = self.plugged.iter();
        plugged.filter_map(|it| Some((it.number?, it.disk.as_ref()?)))
    }

    /// Network cards; what has gone leaves the slot empty that it would have got.
    fn add_cards(
        &mut self,
        board: &mut Board,
        config: &MachineConfig,
        control: &MachineControl,
        places: &mut BootPlaces,
    ) -> Result<(), MachineError> {
        match &config.network {
            Some(network) if network.gone => board.skip_slot(),
            Some(network) => {
                // The rules are the guest's, and said with its first card.
                control.set_rules(network.rules.clone());
                let (slot, added) = network::add(board, network, config.vcpus, control)?;
                places.network = Some(slot);
                self.plugged.extend(added);
            }
            None => {}
        }
        for card in config.cards.iter().filter(|card| !card.gone) {
            let (_, added) = network::add(board, card, config.vcpus, control)?;
            self.plugged.extend(added);
        }
        Ok(())
    }

    /// How firmware learns of everything, and where it says what it does. Programs that are loaded directly
    /// read a few facts in the same way.
    fn add_firmware(
        &self,
        board: &mut Board,
        config: &mut MachineConfig,
        facts: &Facts,
        places: BootPlaces,
    ) -> Result<(), MachineError> {
        let Some(firmware) = &mut config.firmware else {
            let fw_cfg = FwCfg::new(config.memory, config.vcpus, &[]);
            let fw_cfg = Arc::new(Mutex::new(fw_cfg));
            return board.add_ports("fw-cfg", fw_cfg, &fw_cfg::PORTS[..1]);
        };
        let log: Box<dyn Write + Send> = match firmware.log.take() {
            Some(fd) => self.gathered(fd)?,
            None => Box::new(std::io::sink()),
        };
        let console = Arc::new(Mutex::new(DebugConsole::new(log)));
        board.add_ports("debug-console", console, &pc::DEBUG_PORTS)?;
        let memory = board.memory().clone();
        let files = pc::files(&FilesRequest {
            memory: &memory,
            acpi: &facts.acpi(&memory, true),
            smbios: &facts.smbios(),
            boot_order: &pc::boot_order(&firmware.boot, places),
            serial_console: firmware.serial_console,
        });
        let mut fw_cfg = FwCfg::new(config.memory, config.vcpus, &files).with_dma(memory);
        if !config.kernel.as_os_str().is_empty() {
            fw_cfg = fw_cfg.with_kernel(boot::kernel_items(config)?);
        }
        board.add_ports("fw-cfg", Arc::new(Mutex::new(fw_cfg)), &fw_cfg::PORTS)
    }
}

/// A screen, and what is pointed and typed with there.
fn add_screen(
    board: &mut Board,
    config: &MachineConfig,
    control: &MachineControl,
) -> Result<Option<MachineScreen>, MachineError> {
    let Some(wanted) = &config.screen else {
        return Ok(None);
    };
    let host = |source| MachineError::Host {
        what: "file descriptor",
        source,
    };
    let screen = screen::add(board, wanted)?;
    control.connect_screen(screen.screen.clone());
    let tablet = Tablet::new().map_err(host)?;
    control.connect_tablet(tablet.handle());
    board.add_virtio(tablet)?;
    if wanted.keyboard {
        let keyboard = Keyboard::new().map_err(host)?;
        control.connect_virtio_keyboard(keyboard.handle());
        board.add_virtio(keyboard)?;
    }
    Ok(Some(screen))
}

/// What every PC has.
fn add_legacy(
    board: &mut Board,
    lines: &Arc<dyn Lines>,
    control: &MachineControl,
) -> Result<(), MachineError> {
    let port92 = Port92::new(Arc::clone(lines));
    board.add_ports("port92", Arc::new(Mutex::new(port92)), &port92::PORTS)?;
    let (irq1, irq12) = (
        board.line(ports::KEYBOARD_IRQ),
        board.line(ports::MOUSE_IRQ),
    );
    let keyboard = Arc::new(Mutex::new(I8042::new(irq1, irq12, Arc::clone(lines))));
    control.connect_keyboard(Arc::clone(&keyboard));
    board.add_ports("i8042", keyboard, &i8042::PORTS)
}

/// The timer, perhaps with a speaker that is heard.
fn add_timer(board: &mut Board, heard: Option<Wave>) -> Result<(), MachineError> {
    let (timer, alarm) = (board.timer(), board.timer());
    let irq0 = board.line(ports::PIT_IRQ);
    let pit = Pit::new(board.clock(), Arc::clone(&timer) as _, irq0);
    let pit = match heard {
        Some(output) => pit.with_speaker(output, Arc::clone(&alarm) as _),
        None => pit,
    };
    let pit = Arc::new(Mutex::new(pit));
    board.connect(&timer, &pit);
    let listens = Arc::clone(&pit);
    let listen = move |_| lock(&listens).listen();
    board.timers.connect(&alarm, Arc::new(listen));
    board.add_ports("pit", pit, &pit::PORTS)
}

fn add_clocks(
    board: &mut Board,
    config: &MachineConfig,
    power: &Arc<Mutex<AcpiPm>>,
    floppy: Option<u8>,
    heard: Option<Wave>,
) -> Result<(), MachineError> {
    // An engine with interrupt controllers has the PIT as well.
    if board.irqchip.is_some() {
        add_timer(board, heard)?;
    } else if heard.is_some() {
        return Err(MachineError::Speaker);
    }
    let low = config.memory.min(LOW_RAM_LIMIT.0);
    let memory = RtcMemory {
        below_4g: low,
        above_4g: config.memory - low,
    };
    let timer = board.timer();
    let irq8 = Arc::new(WatchedLine {
        line: board.line(ports::RTC_IRQ),
        power: Arc::clone(power),
        high: AtomicBool::new(false),
    });
    let rtc = Rtc::new(memory, board.clock(), Arc::clone(&timer) as _, irq8);
    let rtc = match floppy {
        Some(drive) => rtc.with_floppy(drive),
        None => rtc,
    };
    let rtc = Arc::new(Mutex::new(rtc));
    board.connect(&timer, &rtc);
    board.add_ports("rtc", rtc, &rtc::PORTS)
}

fn add_power_management(
    board: &mut Board,
    lines: &Arc<dyn Lines>,
    control: &MachineControl,
) -> Result<Arc<Mutex<AcpiPm>>, MachineError> {
    let timer = board.timer();
    let parts = AcpiPmParts {
        clock: board.clock(),
        timer: Arc::clone(&timer) as _,
        sci: board.line(ports::SCI),
        lines: Arc::clone(lines),
    };
    let device = Arc::new(Mutex::new(AcpiPm::new(TimerWidth::Bits32, parts)));
    board.connect(&timer, &device);
    let pressed = Arc::clone(&device);
    control.connect_power_button(move |()| lock(&pressed).power_button());
    board.add_ports("acpi-pm", Arc::clone(&device), &acpi_pm::PORTS)?;
    if board.is_pc() {
        let len = acpi_pm::PORTS[0].count.into();
        let shared: SharedDevice = Arc::clone(&device) as _;
        board.ports.attach(pc::OVMF_PM_BASE, len, 0, shared)?;
    }
    Ok(device)
}

/// What lets other devices come and go.
fn add_slots(
    board: &mut Board,
    power: &Arc<Mutex<AcpiPm>>,
    control: &MachineControl,
) -> Result<Arc<Mutex<AcpiSlots>>, MachineError> {
    let event = Arc::new(EventLine {
        event: ports::SLOT_EVENT,
        power: Arc::clone(power),
    });
    plugging::add(board, event, control)
}

/// The line that says whether a processor is there, and tells when it has gone.
#[derive(Debug)]
struct Watched {
    presence: Presence,
    control: MachineControl,
}

impl Line for Watched {
    fn set(&self, high: bool) {
        if self.presence.set(high) && !high {
            self.control.tell_news();
        }
    }
}

/// What lets processors come and go, where there can be more than there are.
fn add_cpus(
    board: &mut Board,
    config: &MachineConfig,
    power: &Arc<Mutex<AcpiPm>>,
    control: &MachineControl,
    signals: &[Arc<VcpuSignal>],
) -> Result<Option<Arc<Mutex<AcpiCpus>>>, MachineError> {
    if config.max_vcpus <= config.vcpus {
        return Ok(None);
    }
    let presence = signals.iter().map(|signal| {
        let line: Arc<dyn Line> = Arc::new(Watched {
            presence: Presence(Arc::clone(signal)),
            control: control.clone(),
        });
        line
    });
    let parts = AcpiCpusParts {
        presence: presence.collect(),
        event: Arc::new(EventLine {
            event: ports::CPU_EVENT,
            power: Arc::clone(power),
        }),
    };
    let present = usize::try_from(config.vcpus).unwrap_or(usize::MAX);
    let device = Arc::new(Mutex::new(AcpiCpus::new(present, parts)));
    board.add_ports("acpi-cpus", Arc::clone(&device), &acpi_cpus::PORTS)?;
    Ok(Some(device))
}

impl Peripherals {
    /// The port is there also when nobody listens: firmware tables name it.
    fn add_serial(
        &mut self,
        board: &mut Board,
        index: usize,
        chardev: Option<Chardev>,
    ) -> Result<(), MachineError> {
        let (input, output) = chardev.map_or((None, None), |ends| (ends.input, ends.output));
        let output: Box<dyn Write + Send> = match output {
            Some(fd) => self.gathered(fd)?,
            None => Box::new(std::io::sink()),
        };
        let port = ports::SERIAL[index % ports::SERIAL.len()];
        let device = Arc::new(Mutex::new(Serial::new(board.line(port.irq), output)));
        if let Some(fd) = input {
            let waker = self.inputs.waker.clone();
            lock(&device).on_room(Box::new(move || waker.wake()));
            let receiver = Arc::clone(&device);
            let sink = move |bytes: &[u8]| lock(&receiver).receive(bytes);
            self.inputs.list.push(Input::new(fd, Box::new(sink)));
        }
        let name = format!("serial{index}");
        board.add_ports(&name, device, &serial::PORTS[index..=index])
    }

    fn gathered(&self, fd: OwnedFd) -> Result<Box<dyn Write + Send>, MachineError> {
        let output = FdOutput::impatient(fd, self.abandon.clone());
        let gathered = Gathered::new(output).map_err(|source| MachineError::Host {
            what: "thread",
            source,
        })?;
        Ok(Box::new(gathered))
    }

    fn add_console(
        &mut self,
        board: &mut Board,
        config: ConsoleConfig,
        control: &MachineControl,
    ) -> Result<(), MachineError> {
        let console = config.console.unwrap_or(Chardev {
            input: None,
            output: None,
        });
        let mut ends = vec![console.input];
        let output = self.console_output(console.output);
        let mut ports = vec![Port::console(output)];
        for (name, chardev) in config.ports {
            let output = self.console_output(chardev.output);
            ports.push(Port::named(&name, output));
            ends.push(chardev.input);
        }
        let device = Console::new(ports);
        let handle = device.handle();
        // Ports that are full share it with all that is read: a look costs little.
        let waker = self.inputs.waker.clone();
        handle.on_room(Box::new(move || waker.wake()));
        for (port, input) in ends.into_iter().enumerate() {
            let Some(fd) = input else { continue };
            let handle = handle.clone();
            let sink = move |bytes: &[u8]| handle.receive(port, bytes);
            self.inputs.list.push(Input::new(fd, Box::new(sink)));
        }
        let resized = handle.clone();
        control.connect_resize(move |(columns, rows)| resized.resize(columns, rows));
        self.console = Some(handle);
        board.add_virtio(device)
    }

    fn console_output(&self, fd: Option<std::os::fd::OwnedFd>) -> Box<dyn Write + Send> {
        match fd {
            Some(fd) => Box::new(FdOutput::patient(fd, self.abandon.clone())),
            None => Box::new(std::io::sink()),
        }
    }
}

fn add_folder(
    board: &mut Board,
    config: &FolderConfig,
    control: &MachineControl,
) -> Result<(), MachineError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&config.path, flags, Mode::empty());
    let root = root.map_err(|source| MachineError::Folder {
        path: config.path.clone(),
        source: source.into(),
    })?;
    let folder = Folder::new(root, config.options);
    let gate = control.gates().disk.clone();
    board.add_virtio(Fs::new(folder, &config.tag).through(gate))
}

fn add_vsock(
    board: &mut Board,
    config: VsockConfig,
    control: &MachineControl,
) -> Result<(), MachineError> {
    let options = VsockOptions {
        cid: config.cid,
        listener: config.listener,
        outward: config.outward,
    };
    let device = Vsock::new(options).map_err(|source| MachineError::Host {
        what: "file descriptor",
        source,
    })?;
    let handle = device.handle();
    control.connect_vsock(move |(stream, port)| {
        // Who cannot be let in finds its end closed.
        let _ = handle.connect(stream, port);
    });
    board.add_virtio(device)
}
