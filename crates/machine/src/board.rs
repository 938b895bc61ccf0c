//! The board: which devices there are, and how they are wired.

use std::sync::{Arc, Mutex};

use devices::irqchip::{Irqchip, LapicParts, VcpuEvents, ioapic, pic};
use devices::pci::{
    ConfigPorts, DeviceFunction, Ecam, IoWindow, PciFunction, PciRoot, PciWindows, intx_index,
};
use devices::virtio::{VirtioDevice, VirtioPci};
use devices::{Clock, Device, Line, Lines, PortRange, Timer};
use engine::{Engine, InterruptModel};
use memory::GuestMemory;

use crate::MachineError;
use crate::bus::{Bus, SharedDevice};
use crate::layout::{
    ECAM, ECAM_LEN, IOAPIC, IOAPIC_LEN, PCI_WINDOW, PCI_WINDOW_64_LEN, PCI_WINDOW_END,
    pci_window_64,
};
use crate::pci_windows::MemoryRegion;
use crate::ports;
use crate::sync::lock;
use crate::time::{GuestTsc, MachineClock, QueueTimer, TimerQueue};
use crate::wires::Wires;

/// Ports above those of the PC's own devices.
const PCI_IO_WINDOW: std::ops::Range<u16> = 0xc000..0xd000;
const PCI_SLOTS: u8 = 32;

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
    /// Absent when the engine has the interrupt controllers.
    pub(crate) irqchip: Option<Arc<Irqchip>>,
    pub(crate) wires: Wires,
    pub(crate) pci: PciRoot,
    /// In the order in which they are restored: interrupt controllers last.
    pub(crate) devices: Vec<Named>,
    memory: GuestMemory,
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
}

impl Board {
    /// A board with interrupt controllers, buses and the PCI host bridge.
    pub(crate) fn new(parts: &BoardParts) -> Result<Board, MachineError> {
        let clock = Arc::new(MachineClock::default());
        let timers =
            TimerQueue::start(Arc::clone(&clock)).map_err(|source| MachineError::Host {
                what: "thread",
                source,
            })?;
        let irqchip = match parts.engine.interrupt_model() {
            InterruptModel::Machine => Some(make_irqchip(parts, &clock, &timers)),
            InterruptModel::InKernel => None,
        };
        let windows = PciWindows {
            memory32: PCI_WINDOW.0..PCI_WINDOW_END.0,
            memory64: Some(window_64(&parts.memory)),
            io: u64::from(PCI_IO_WINDOW.start)..u64::from(PCI_IO_WINDOW.end),
        };
        let mut board = Board {
            ports: Arc::new(Bus::new(1 << 16)),
            mmio: Arc::new(Bus::new(u64::MAX)),
            clock,
            timers,
            wires: Wires::new(irqchip.clone(), &parts.engine),
            irqchip,
            pci: PciRoot::new(windows),
            devices: Vec::new(),
            memory: parts.memory.clone(),
            next_slot: 1,
        };
        board.add_interrupt_controllers()?;
        board.add_pci_root(&parts.lines)?;
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

    fn add_pci_root(&mut self, lines: &Arc<dyn Lines>) -> Result<(), MachineError> {
        let root = self.pci.clone();
        let config = Arc::new(Mutex::new(ConfigPorts::new(
            root.clone(),
            Arc::clone(lines),
        )));
        self.ports.attach(0xcf8, 8, 0, Arc::clone(&config) as _)?;
        self.name("pci", config);
        let ecam = Arc::new(Mutex::new(Ecam::new(root.clone())));
        self.mmio.attach(ECAM.0, ECAM_LEN, 0, ecam)?;
        let low = PCI_WINDOW.0..PCI_WINDOW_END.0;
        for window in [low, window_64(&self.memory)] {
            let len = window.end - window.start;
            let region = Arc::new(MemoryRegion::new(root.clone(), window.start));
            self.mmio.attach_region(window.start, len, 0, region)?;
        }
        let io = Arc::new(Mutex::new(IoWindow::new(root, PCI_IO_WINDOW.start)));
        let len = u64::from(PCI_IO_WINDOW.end - PCI_IO_WINDOW.start);
        Ok(self.ports.attach(PCI_IO_WINDOW.start.into(), len, 0, io)?)
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
        let failed = |what: String| MachineError::Pci { what };
        let slot = self.next_slot;
        if slot >= PCI_SLOTS {
            return Err(failed(format!("all {PCI_SLOTS} slots are taken")));
        }
        const PIN_A: u8 = 1;
        let irq = ports::PCI_IRQS[intx_index(slot, PIN_A) % ports::PCI_IRQS.len()];
        let wire = self.line(irq);
        let function = VirtioPci::new(device, self.memory.clone(), self.wires.msi(), wire)
            .map_err(|error| failed(crate::choice::chain(&error)))?;
        self.add_function(slot, function, irq)
    }

    fn add_function(
        &mut self,
        slot: u8,
        function: impl PciFunction + 'static,
        irq: u8,
    ) -> Result<(), MachineError> {
        let failed = |what: String| MachineError::Pci { what };
        let at = DeviceFunction::new(slot, 0);
        let inserted = self.pci.insert(at, function);
        inserted.map_err(|error| failed(error.to_string()))?;
        self.pci.set_interrupt_line(at, irq);
        self.next_slot = slot + 1;
        Ok(())
    }

    /// All functions are in: give them addresses.
    pub(crate) fn assign_pci(&self) -> Result<(), MachineError> {
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
        self.timers.clock_changed();
        self.pci.resume();
    }

    /// The guest sleeps from here on: time passes, but no device writes to memory.
    pub(crate) fn doze(&self) {
        self.clock.resume();
        self.timers.clock_changed();
    }

    /// The guest stands still from here on: no time passes, no device writes to memory.
    pub(crate) fn quiesce(&self) {
        self.pci.quiesce();
        self.clock.pause();
        self.timers.clock_changed();
    }
}

fn window_64(memory: &GuestMemory) -> std::ops::Range<u64> {
    let base = pci_window_64(&memory.ranges()).0;
    base..base + PCI_WINDOW_64_LEN
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
