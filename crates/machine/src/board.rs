//! The board: which devices there are, and how they are wired.

mod usb;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use block::BlockDevice;
use devices::ahci::{Ahci, AhciParts, SataDrive, SataTray};
use devices::floppy::{self, Floppy, FloppyParts, FloppyTray};
use devices::ide::{self, Drive, Ide, IdeTray};
use devices::irqchip::{Irqchip, LapicParts, VcpuEvents, ioapic, pic};
use devices::isa_dma::{self, DmaChannel, IsaDma};
use devices::nvme::Nvme;
use devices::pc::{I440fx, Piix3, Piix4Pm, PirqRouter};
use devices::pci::{
    ConfigPorts, DeviceFunction, Ecam, IoWindow, OptionRom, PciFunction, PciRoot, PciWindows,
    SharedLine, intx_index,
};
use devices::pflash::Pflash;
use devices::virtio::{RateGate, VirtioDevice, VirtioPci};
use devices::{Clock, Device, Line, Lines, Pace, PortRange, Timer};
use engine::{Engine, InterruptModel};
use memory::{Gpa, GuestMemory};

use crate::MachineError;
use crate::bus::{Bus, SharedDevice};
use crate::control::MachineControl;
use crate::layout::{
    ECAM, ECAM_LEN, IOAPIC, IOAPIC_LEN, PC_PCI_WINDOW_64_LEN, PC_PCI_WINDOW_END, PCI_WINDOW,
    PCI_WINDOW_64_LEN, PCI_WINDOW_END, pc_pci_window, pci_window_64,
};
use crate::pc::{self, FloppyDrive, ShadowMapper, ShadowWrites};
use crate::pci_windows::MemoryRegion;
use crate::ports;
use crate::sync::lock;
use crate::time::{GuestTsc, MachineClock, QueueTimer, TimerQueue};
use crate::wires::Wires;

/// Ports above those of the PC's own devices.
const PCI_IO_WINDOW: Range<u64> = 0xc000..0xd000;
/// Firmware takes what it needs of these.
const PC_PCI_IO_WINDOW: Range<u64> = 0xc000..0x1_0000;
pub(crate) const PCI_SLOTS: u8 = 32;

/// A device with the name under which its state is saved.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) device: SharedDevice,
}

/// Everything but processors and memory.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) ports: Arc<Bus>,
    pub(crate) mmio: Arc<Bus>,
    pub(crate) clock: Arc<MachineClock>,
    pub(crate) timers: TimerQueue,
    /// Alarms by which disk controllers go on with what they do. On a thread of its own: it reads and writes disks of
    /// the host's, which takes as long as those like, and no clock of the guest's is to wait for that.
    disk_work: TimerQueue,
    /// Absent when the engine has the interrupt controllers.
    pub(crate) irqchip: Option<Arc<Irqchip>>,
    pub(crate) wires: Wires,
    pub(crate) pci: PciRoot,
    /// In the order in which they are restored: interrupt controllers last.
    pub(crate) devices: Vec<Named>,
    /// ISA's DMA, where there is something that uses it.
    isa_dma: Option<Arc<Mutex<IsaDma>>>,
    /// PCI's four wires, on a board whose firmware routes them.
    pirqs: Option<[Arc<SharedLine>; 4]>,
    memory: GuestMemory,
    /// See [`Engine::bears_untold_writes`].
    bears_untold_writes: bool,
    next_slot: u8,
}

/// What [`Board::new`] is made from.
#[derive(Debug)]
pub(crate) struct BoardParts {
    pub(crate) memory: GuestMemory,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) vcpus: u32,
    pub(crate) physical_bits: u8,
    pub(crate) has_x2apic: bool,
    pub(crate) events: Arc<dyn VcpuEvents>,
    pub(crate) tsc: Arc<GuestTsc>,
    pub(crate) lines: Arc<dyn Lines>,
    pub(crate) control: MachineControl,
}

impl BoardParts {
    /// Firmware runs on it, and so it has what firmware looks for.
    fn is_pc(&self) -> bool {
        self.memory.rom().is_some()
    }

    fn pci_windows(&self) -> PciWindows {
        let ranges = self.memory.ranges();
        let base = pci_window_64(&ranges).0;
        if self.is_pc() {
            PciWindows {
                memory32: pc_pci_window(&ranges).0..PC_PCI_WINDOW_END.0,
                memory64: Some(base..base + PC_PCI_WINDOW_64_LEN),
                io: PC_PCI_IO_WINDOW,
            }
        } else {
            PciWindows {
                memory32: PCI_WINDOW.0..PCI_WINDOW_END.0,
                memory64: Some(base..base + PCI_WINDOW_64_LEN),
                io: PCI_IO_WINDOW,
            }
        }
    }
}

impl Board {
    /// A board with interrupt controllers, buses and the PCI host bridge.
    pub(crate) fn new(parts: &BoardParts) -> Result<Board, MachineError> {
        let clock = Arc::new(MachineClock::default());
        let queue = |name| {
            let started = TimerQueue::start(Arc::clone(&clock), name);
            started.map_err(|source| MachineError::Host {
                what: "thread",
                source,
            })
        };
        let (timers, disk_work) = (queue("timers")?, queue("disk-work")?);
        let irqchip = match parts.engine.interrupt_model() {
            InterruptModel::Machine => Some(make_irqchip(parts, &clock, &timers)),
            InterruptModel::InKernel => None,
        };
        let windows = parts.pci_windows();
        let mapper = parts.is_pc().then(|| {
            let engine = Arc::clone(&parts.engine);
            ShadowMapper::new(parts.memory.clone(), engine, parts.control.clone())
        });
        let pci = match &mapper {
            Some(mapper) => {
                let bridge = I440fx::new(Arc::clone(mapper) as _);
                PciRoot::with_bridge(windows.clone(), bridge)
            }
            None => PciRoot::new(windows.clone()),
        };
        let mut board = Board {
            ports: Arc::new(Bus::new(1 << 16)),
            mmio: Arc::new(Bus::new(u64::MAX)),
            clock,
            timers,
            disk_work,
            wires: Wires::new(irqchip.clone(), &parts.engine),
            irqchip,
            pci,
            devices: Vec::new(),
            isa_dma: None,
            pirqs: None,
            memory: parts.memory.clone(),
            bears_untold_writes: parts.engine.bears_untold_writes(),
            next_slot: 1,
        };
        board.add_interrupt_controllers()?;
        board.add_pci_root(&parts.lines, windows)?;
        match mapper {
            Some(mapper) => board.add_pc_chipset(mapper)?,
            None => board.add_ecam()?,
        }
        Ok(board)
    }

    fn add_interrupt_controllers(&mut self) -> Result<(), MachineError> {
        let Some(irqchip) = self.irqchip.clone() else {
            return Ok(());
        };
        self.add_ports("pic", irqchip.pic(), &pic::PORTS)?;
        self.mmio
            .attach(IOAPIC.0, IOAPIC_LEN, 0, irqchip.ioapic())?;
        self.name("ioapic", irqchip.ioapic());
        debug_assert_eq!(ioapic::ADDRESS, IOAPIC.0);
        Ok(())
    }

    fn add_pci_root(
        &mut self,
        lines: &Arc<dyn Lines>,
        windows: PciWindows,
    ) -> Result<(), MachineError> {
        let root = self.pci.clone();
        let config = Arc::new(Mutex::new(ConfigPorts::new(
            root.clone(),
            Arc::clone(lines),
        )));
        self.ports.attach(0xcf8, 8, 0, Arc::clone(&config) as _)?;
        self.name("pci", config);
        for window in std::iter::once(windows.memory32).chain(windows.memory64) {
            let len = window.end - window.start;
            let region = Arc::new(MemoryRegion::new(root.clone(), window.start));
            self.mmio.attach_region(window.start, len, 0, region)?;
        }
        // Ports are 16 bits wide.
        let io = Arc::new(Mutex::new(IoWindow::new(root, windows.io.start as u16)));
        let len = windows.io.end - windows.io.start;
        Ok(self.ports.attach(windows.io.start, len, 0, io)?)
    }

    fn add_ecam(&mut self) -> Result<(), MachineError> {
        let ecam = Arc::new(Mutex::new(Ecam::new(self.pci.clone())));
        Ok(self.mmio.attach(ECAM.0, ECAM_LEN, 0, ecam)?)
    }

    /// What firmware of the PC's looks for.
    fn add_pc_chipset(&mut self, mapper: Arc<ShadowMapper>) -> Result<(), MachineError> {
        let writes = Arc::new(ShadowWrites(mapper));
        let (base, len) = (ShadowWrites::BASE.0, ShadowWrites::LEN);
        self.mmio.attach_region(base, len, 0, writes)?;
        let irqs = (0..16).map(|irq| self.line(irq)).collect();
        let router = PirqRouter::new(irqs);
        let routed = router.wires();
        self.pirqs = Some(std::array::from_fn(|index| {
            // Four inputs of the I/O APIC.
            let gsi = self.line(pc::FIRST_PCI_GSI + index as u8);
            SharedLine::new(Arc::new(Both(routed[index].input(), gsi)))
        }));
        let south = |function| DeviceFunction::new(pc::SOUTH_BRIDGE_SLOT, function);
        self.insert(south(0), Piix3::new(router))?;
        self.insert(south(pc::POWER_MANAGEMENT_FUNCTION), Piix4Pm::new())?;
        self.next_slot = pc::FIRST_FREE_SLOT;
        Ok(())
    }

    fn insert(
        &self,
        at: DeviceFunction,
        function: impl PciFunction + 'static,
    ) -> Result<(), MachineError> {
        let inserted = self.pci.insert(at, function);
        inserted.map_err(|error| MachineError::Pci {
            what: error.to_string(),
        })
    }

    /// Plugs a VGA in, which has no interrupt: where firmware looks for it, or into the next slot.
    pub(crate) fn add_vga(
        &mut self,
        function: impl PciFunction + 'static,
    ) -> Result<(), MachineError> {
        if self.pirqs.is_some() {
            return self.insert(DeviceFunction::new(pc::DISPLAY_SLOT, 0), function);
        }
        self.insert(DeviceFunction::new(self.next_slot, 0), function)?;
        self.next_slot += 1;
        Ok(())
    }

    /// The end of an interrupt wire for the first pin of a slot. On a board without firmware also the
    /// interrupt that it is.
    fn slot_wire(&self, slot: u8) -> (Arc<dyn Line>, Option<u8>) {
        const PIN_A: u8 = 1;
        if let Some(pirqs) = &self.pirqs {
            let wire = pc::pci_wire(slot.into(), 0);
            return (pirqs[wire].input(), None);
        }
        let irq = ports::PCI_IRQS[intx_index(slot, PIN_A) % ports::PCI_IRQS.len()];
        (self.line(irq), Some(irq))
    }

    /// Adds a device of the board behind ports.
    pub(crate) fn add_ports<D: Device + 'static>(
        &mut self,
        name: &str,
        device: Arc<Mutex<D>>,
        ranges: &[PortRange],
    ) -> Result<(), MachineError> {
        for range in ranges {
            let shared: SharedDevice = Arc::clone(&device) as _;
            self.ports
                .attach(range.first.into(), range.count.into(), range.offset, shared)?;
        }
        self.name(name, device);
        Ok(())
    }

    /// Adds a device of the board behind physical addresses.
    pub(crate) fn add_mapped(
        &mut self,
        name: &str,
        base: u64,
        len: u64,
        device: SharedDevice,
    ) -> Result<(), MachineError> {
        self.mmio.attach(base, len, 0, Arc::clone(&device))?;
        self.name(name, device);
        Ok(())
    }

    /// Interrupt controllers are added first and restored last, so newer ones go to the front.
    fn name(&mut self, name: &str, device: SharedDevice) {
        let name = name.to_owned();
        self.devices.insert(0, Named { name, device });
    }

    /// Attaches somebody else's device: under its kind and address it is saved.
    pub(crate) fn add_foreign(
        &mut self,
        bus: &Arc<Bus>,
        base: u64,
        len: u64,
        device: SharedDevice,
    ) -> Result<(), MachineError> {
        bus.attach(base, len, 0, Arc::clone(&device))?;
        let name = format!("{}@{base:#x}", lock(&device).kind());
        self.name(&name, device);
        Ok(())
    }

    /// Devices may have the host's kernel write RAM for them.
    pub(crate) fn bears_untold_writes(&self) -> bool {
        self.bears_untold_writes
    }

    pub(crate) fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as _
    }

    pub(crate) fn line(&self, irq: u8) -> Arc<dyn Line> {
        self.wires.line(irq)
    }

    /// A timer for a device that does not exist yet; connect it when it does.
    pub(crate) fn timer(&self) -> Arc<QueueTimer> {
        self.timers.timer()
    }

    /// Lets the timer's expiry reach its device.
    pub(crate) fn connect<D: Device + 'static>(&self, timer: &QueueTimer, device: &Arc<Mutex<D>>) {
        let device = Arc::clone(device);
        let expire = move |now| lock(&*device).expire(now);
        self.timers.connect(timer, Arc::new(expire));
    }

    /// Plugs a virtio device into the next slot.
    pub(crate) fn add_virtio(
        &mut self,
        device: impl VirtioDevice + 'static,
    ) -> Result<(), MachineError> {
        let make = self.virtio(device, OptionRom::default());
        self.plug(None, make).map(drop)
    }

    /// Plugs a virtio device into this slot, or the next one where none is said, from which it may be taken
    /// out again. Answers which.
    pub(crate) fn add_removable(
        &mut self,
        slot: Option<u8>,
        device: impl VirtioDevice + 'static,
        rom: OptionRom,
    ) -> Result<u8, MachineError> {
        let make = self.virtio(device, rom);
        let slot = self.plug(slot, make)?;
        self.pci.may_go(DeviceFunction::new(slot, 0));
        Ok(slot)
    }

    /// Plugs a virtio device that is a VGA as well in, as [`Board::add_vga`] does.
    pub(crate) fn add_virtio_display(
        &mut self,
        device: impl VirtioDevice + 'static,
    ) -> Result<(), MachineError> {
        let slot = self.is_pc().then_some(pc::DISPLAY_SLOT);
        let make = self.virtio(device, OptionRom::default());
        self.plug(slot, make).map(drop)
    }

    /// Plugs a disk with an NVMe controller into the next slot. Answers which.
    pub(crate) fn add_nvme(
        &mut self,
        disk: Arc<dyn BlockDevice>,
        serial: &str,
        gate: &RateGate,
    ) -> Result<u8, MachineError> {
        let (memory, msi) = (self.memory.clone(), self.wires.msi());
        let (pace, timer) = self.pace(gate);
        let slot = self.plug(None, |wire| {
            Ok(Nvme::new(disk, serial, memory, msi, wire).with_pace(pace))
        })?;
        self.alarm(&timer, DeviceFunction::new(slot, 0));
        Ok(slot)
    }

    /// Plugs an AHCI controller into the next slot. Answers which, and the tray of the CD-ROM drive on port `cd`;
    /// `moved` tells of that.
    pub(crate) fn add_ahci(
        &mut self,
        drives: Vec<SataDrive>,
        cd: Option<usize>,
        gate: &RateGate,
        moved: Arc<dyn Line>,
    ) -> Result<(u8, Option<SataTray>), MachineError> {
        let (memory, msi) = (self.memory.clone(), self.wires.msi());
        let (pace, timer) = self.pace(gate);
        let mut tray = None;
        let slot = self.plug(None, |line| {
            let parts = AhciParts {
                memory,
                msi,
                line,
                pace,
                trays: moved,
            };
            let controller = Ahci::new(drives, parts);
            tray = cd.and_then(|port| controller.tray(port));
            Ok(controller)
        })?;
        self.alarm(&timer, DeviceFunction::new(slot, 0));
        Ok((slot, tray))
    }

    /// What keeps a disk controller to what this gate lets through, and the timer that [`Board::alarm`] connects.
    fn pace(&self, gate: &RateGate) -> (Pace, Arc<QueueTimer>) {
        let timer = self.disk_work.timer();
        let alarm = Arc::clone(&timer) as _;
        (Pace::new(gate.clone(), self.clock(), alarm), timer)
    }

    /// Lets the expiry of a [`Board::pace`]'s timer reach its function on the bus.
    fn alarm(&self, timer: &QueueTimer, at: DeviceFunction) {
        let pci = self.pci.clone();
        self.disk_work
            .connect(timer, Arc::new(move |_| pci.expire(at)));
    }

    /// What makes a virtio device a PCI function, with what firmware runs of it.
    fn virtio<D: VirtioDevice + 'static>(
        &self,
        device: D,
        rom: OptionRom,
    ) -> impl FnOnce(Arc<dyn Line>) -> Result<VirtioPci, MachineError> + use<D> {
        let (memory, msi) = (self.memory.clone(), self.wires.msi());
        move |wire| {
            let function = VirtioPci::new(device, memory, msi, wire);
            let function = function.map_err(|error| MachineError::Pci {
                what: crate::choice::chain(&error),
            });
            Ok(function?.with_rom(rom))
        }
    }

    /// Plugs a function into this slot, or the next one where none is said. `make` gets its interrupt wire.
    pub(crate) fn plug<F: PciFunction + 'static>(
        &mut self,
        wanted: Option<u8>,
        make: impl FnOnce(Arc<dyn Line>) -> Result<F, MachineError>,
    ) -> Result<u8, MachineError> {
        let slot = wanted.unwrap_or(self.next_slot);
        if slot >= PCI_SLOTS {
            return Err(MachineError::Pci {
                what: format!("all {PCI_SLOTS} slots are taken"),
            });
        }
        let (wire, irq) = self.slot_wire(slot);
        let function = make(wire)?;
        let at = DeviceFunction::new(slot, 0);
        self.insert(at, function)?;
        if let Some(irq) = irq {
            self.pci.set_interrupt_line(at, irq);
        }
        if wanted.is_none() {
            self.next_slot = slot + 1;
        }
        Ok(slot)
    }

    /// The next slot stays empty: a device was there that has gone.
    pub(crate) fn skip_slot(&mut self) {
        self.next_slot = self.next_slot.saturating_add(1);
    }

    /// The highest slot that nothing is in.
    pub(crate) fn free_slot(&self) -> Option<u8> {
        let mut all = (1..PCI_SLOTS).rev();
        all.find(|&slot| self.removable(slot).is_none())
    }

    /// Slots that devices come into and go from.
    pub(crate) fn hot_slots(&self) -> Vec<u8> {
        let all = 1..PCI_SLOTS;
        all.filter(|&slot| self.removable(slot) != Some(false))
            .collect()
    }

    fn removable(&self, slot: u8) -> Option<bool> {
        self.pci.find_removable(DeviceFunction::new(slot, 0))
    }

    /// Does firmware route its interrupts?
    pub(crate) fn is_pc(&self) -> bool {
        self.pirqs.is_some()
    }

    /// Plugs in the disk controller of old, with its ports. `moved` tells of the CD-ROM drive's tray, which is
    /// answered.
    pub(crate) fn add_ide(
        &mut self,
        drives: [Option<Drive>; 4],
        gate: &RateGate,
        moved: Arc<dyn Line>,
    ) -> Result<IdeTray, MachineError> {
        let irqs = ports::IDE_IRQS.map(|irq| self.line(irq));
        let (pace, timer) = self.pace(gate);
        let ide = Ide::new(drives, irqs, &self.memory).with_pace(&pace);
        let (channel, unit) = pc::CD_PLACE;
        let tray = ide.tray(channel, unit, moved);
        let registers: SharedDevice = Arc::new(Mutex::new(ide.ports()));
        for range in ide::PORTS {
            let (first, count) = (range.first.into(), range.count.into());
            let registers = Arc::clone(&registers);
            self.ports.attach(first, count, range.offset, registers)?;
        }
        // The bus saves it.
        let at = DeviceFunction::new(pc::SOUTH_BRIDGE_SLOT, pc::IDE_FUNCTION);
        self.insert(at, ide)?;
        self.alarm(&timer, at);
        Ok(tray)
    }

    /// ISA's DMA, which comes with the first that asks for it.
    pub(crate) fn isa_dma(&mut self) -> Result<Arc<Mutex<IsaDma>>, MachineError> {
        if let Some(dma) = &self.isa_dma {
            return Ok(Arc::clone(dma));
        }
        let dma = Arc::new(Mutex::new(IsaDma::new()));
        self.add_ports("isa-dma", Arc::clone(&dma), &isa_dma::PORTS)?;
        self.isa_dma = Some(Arc::clone(&dma));
        Ok(dma)
    }

    /// ISA's DMA, and the floppy disk controller if there is a drive, which is answered.
    pub(crate) fn add_floppy(
        &mut self,
        drive: Option<FloppyDrive>,
    ) -> Result<Option<FloppyTray>, MachineError> {
        let dma = self.isa_dma()?;
        let Some(drive) = drive else {
            return Ok(None);
        };
        let parts = FloppyParts {
            irq: self.line(ports::FLOPPY_IRQ),
            dma: DmaChannel::new(dma, ports::FLOPPY_DMA, self.memory.clone()),
        };
        let floppy = Arc::new(Mutex::new(Floppy::new(drive.disk, parts)));
        self.add_ports("floppy", Arc::clone(&floppy), &floppy::PORTS)?;
        Ok(Some(FloppyTray(floppy)))
    }

    /// Flash at `base`, over memory that vCPUs cannot write.
    pub(crate) fn add_flash(
        &mut self,
        base: Gpa,
        len: u64,
        flash: Pflash,
    ) -> Result<(), MachineError> {
        let flash: SharedDevice = Arc::new(Mutex::new(flash));
        self.mmio.attach(base.0, len, 0, Arc::clone(&flash))?;
        self.name("pflash", flash);
        Ok(())
    }

    /// All functions are in: give them addresses, unless firmware does.
    pub(crate) fn assign_pci(&self) -> Result<(), MachineError> {
        if self.pirqs.is_some() {
            return Ok(());
        }
        let assigned = self.pci.assign_bars();
        assigned.map_err(|error| MachineError::Pci {
            what: error.to_string(),
        })
    }

    /// Power-on state of everything. INTx and other lines go low first, controllers come last.
    pub(crate) fn reset(&self) {
        for named in &self.devices {
            lock(&named.device).reset();
        }
        if let Some(irqchip) = &self.irqchip {
            irqchip.apics().reset();
        }
    }

    /// The guest runs from here on.
    pub(crate) fn resume(&self) {
        self.clock.resume();
        self.clock_changed();
        self.pci.resume();
    }

    /// The guest sleeps from here on: time passes, but no device writes to memory.
    pub(crate) fn doze(&self) {
        self.clock.resume();
        self.clock_changed();
    }

    /// The guest stands still from here on: no time passes, no device writes to memory.
    pub(crate) fn quiesce(&self) {
        self.pci.quiesce();
        self.clock.pause();
        self.clock_changed();
    }

    /// The clock was paused, resumed or set.
    pub(crate) fn clock_changed(&self) {
        self.timers.clock_changed();
        self.disk_work.clock_changed();
    }
}

/// A wire that goes to two places.
#[derive(Debug)]
struct Both(Arc<dyn Line>, Arc<dyn Line>);

impl Line for Both {
    fn set(&self, high: bool) {
        self.0.set(high);
        self.1.set(high);
    }
}

fn make_irqchip(
    parts: &BoardParts,
    clock: &Arc<MachineClock>,
    timers: &TimerQueue,
) -> Arc<Irqchip> {
    let alarms: Vec<Arc<QueueTimer>> = (0..parts.vcpus).map(|_| timers.timer()).collect();
    let lapics = alarms.iter().map(|alarm| LapicParts {
        clock: Arc::clone(clock) as _,
        timer: Arc::clone(alarm) as Arc<dyn Timer>,
        tsc: Arc::clone(&parts.tsc) as _,
        events: Arc::clone(&parts.events),
        physical_bits: parts.physical_bits,
        has_x2apic: parts.has_x2apic,
    });
    let irqchip = Arc::new(Irqchip::new(lapics.collect()));
    for (cpu, alarm) in (0u32..).zip(&alarms) {
        let apics = Arc::clone(irqchip.apics());
        timers.connect(alarm, Arc::new(move |_| apics.expire(cpu)));
    }
    irqchip
}

#[cfg(test)]
mod tests;
