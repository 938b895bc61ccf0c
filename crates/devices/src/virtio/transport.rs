//! A virtio device as a PCI function: identity, capabilities, one region with all registers.
//! Spec: "Virtio Over PCI Bus".

#![allow(
    clippy::cast_possible_truncation,
    reason = "registers are read and written in parts of their width"
)]

mod common;
mod state;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use memory::{DeviceMemory, GuestMemory};
use thiserror::Error;

use crate::pci::{
    BarKind, COMMAND_BUS_MASTER, COMMAND_INTX_DISABLE, ConfigSpace, EXPANSION_ROM, Identity,
    MSIX_CAPABILITY, OptionRom, PciFunction, STATUS, STATUS_INTX, msix_capability,
};
use crate::vga;
use crate::virtio::interrupts::Interrupts;
use crate::virtio::worker::{HOLD_BROKEN, HOLD_INACTIVE, HOLD_NO_MASTER, HOLD_PAUSED, Worker};
use crate::virtio::{Ring, VirtioDevice};
use crate::{DeviceState, Line, MsiSink, RestoreError};

use common::Registers;

const VENDOR: u16 = 0x1af4;
/// Added to the device type for the PCI device id of a modern device.
const DEVICE_ID_BASE: u16 = 0x1040;

/// The region of virtio's registers; beside a VGA, which has the first, another.
const BAR: u8 = 0;
const BAR_BESIDE: u8 = 4;
const BAR_LEN: u64 = 0x8000;
const COMMON: u64 = 0x0000;
const ISR: u64 = 0x1000;
const DEVICE: u64 = 0x2000;
const NOTIFY: u64 = 0x3000;
const MSIX_TABLE: u64 = 0x4000;
const MSIX_PENDING: u64 = 0x6000;
/// Bytes of each of these parts.
const PART: u64 = 0x1000;
/// Bytes between the notify addresses of two queues.
const NOTIFY_STEP: u32 = 4;
/// The notify part holds that many queues, the MSI-X table more.
const MAX_QUEUES: usize = 64;

const CAPABILITY: u8 = 0x09;
const TYPE_COMMON: u8 = 1;
const TYPE_NOTIFY: u8 = 2;
const TYPE_ISR: u8 = 3;
const TYPE_DEVICE: u8 = 4;
const TYPE_PCI_ACCESS: u8 = 5;

#[derive(Debug, Error)]
pub enum VirtioPciError {
    #[error(
        "{kind}: {queues} queues, of sizes that are no powers of two or workers that do not fit"
    )]
    Shape { kind: &'static str, queues: usize },
    #[error("{kind}: no event descriptors for its queues")]
    Doorbell {
        kind: &'static str,
        source: io::Error,
    },
}

/// Offsets of capabilities in the configuration space.
#[derive(Debug, Clone, Copy)]
struct Capabilities {
    msix_control: u16,
    /// The window by which configuration accesses reach the region.
    access: u16,
}

/// A virtio device on the PCI bus.
#[derive(Debug)]
pub struct VirtioPci {
    device: Box<dyn VirtioDevice>,
    config: ConfigSpace,
    /// The region of virtio's registers.
    bar: u8,
    rom: OptionRom,
    capabilities: Capabilities,
    interrupts: Arc<Interrupts>,
    registers: Registers,
    workers: Vec<Worker>,
    /// For each queue: its worker, and its index there.
    served_by: Vec<(usize, usize)>,
    paused: bool,
}

impl VirtioPci {
    /// `sink` takes the device's MSI-X messages, `line` its INTx pin.
    ///
    /// # Errors
    /// When the host has no descriptors left, or the device describes impossible queues.
    pub fn new(
        device: impl VirtioDevice + 'static,
        memory: GuestMemory,
        sink: Arc<dyn MsiSink>,
        line: Arc<dyn Line>,
    ) -> Result<VirtioPci, VirtioPciError> {
        let mut device: Box<dyn VirtioDevice> = Box::new(device);
        let sizes = device.queue_sizes();
        let plans = device.workers();
        let kind = device.kind();
        let shape = VirtioPciError::Shape {
            kind,
            queues: sizes.len(),
        };
        let served: usize = plans.iter().map(|plan| plan.queues).sum();
        let queues = u16::try_from(sizes.len()).unwrap_or(u16::MAX);
        let fits = served == sizes.len() && sizes.len() <= MAX_QUEUES;
        let (Some((config, capabilities)), true) = (configuration(&*device, queues), fits) else {
            return Err(shape);
        };
        if sizes.iter().any(|size| !size.is_power_of_two()) {
            return Err(shape);
        }
        let interrupts = Arc::new(Interrupts::new(queues, sink, line));
        let mut workers = Vec::new();
        let mut served_by = Vec::new();
        let mut indices = (0u16..).zip(&sizes);
        for plan in plans {
            served_by.extend((0..plan.queues).map(|local| (workers.len(), local)));
            let rings = indices.by_ref().take(plan.queues).map(|(index, &size)| {
                Ring::new(index, size, memory.clone(), Arc::clone(&interrupts))
            });
            let worker = Worker::new(rings.collect(), plan, Arc::clone(&interrupts));
            workers.push(worker.map_err(|source| VirtioPciError::Doorbell { kind, source })?);
        }
        let bar = register_bar(&*device);
        Ok(VirtioPci {
            device,
            config,
            bar,
            rom: OptionRom::default(),
            capabilities,
            interrupts,
            registers: Registers::new(&sizes),
            workers,
            served_by,
            paused: false,
        })
    }

    /// With what firmware runs of the device's own.
    #[must_use]
    pub fn with_rom(mut self, rom: OptionRom) -> VirtioPci {
        self.config = rom.declare(self.config);
        self.rom = rom;
        self
    }

    /// The eventfd that notifies queue `index`, and where a guest rings it in region 0: an engine
    /// may ring it for a write there without an exit.
    #[must_use]
    pub fn doorbell(&self, index: u16) -> Option<(u64, BorrowedFd<'_>)> {
        let &(worker, local) = self.served_by.get(usize::from(index))?;
        let bell = self.workers[worker].bell(local)?;
        let offset = NOTIFY + u64::from(index) * u64::from(NOTIFY_STEP);
        Some((offset, bell.as_fd()))
    }

    fn notify(&self, index: u16) {
        if let Some(&(worker, local)) = self.served_by.get(usize::from(index)) {
            self.workers[worker].notify(local);
        }
    }

    /// Takes over what changed in the configuration space.
    fn follow_config(&self) {
        let control = self.config.read(self.capabilities.msix_control, 2) as u16;
        let command = self.config.command();
        self.interrupts
            .configure(control, command & COMMAND_INTX_DISABLE != 0);
        for worker in &self.workers {
            // A function that may not master the bus leaves memory alone, as a kernel that hands
            // over to another (kexec) relies on.
            if command & COMMAND_BUS_MASTER == 0 {
                worker.hold(HOLD_NO_MASTER);
            } else {
                worker.release(HOLD_NO_MASTER);
            }
        }
    }

    /// The driver is ready: the workers may begin.
    fn activate(&mut self) {
        let features = self.registers.driver_features;
        for worker in &mut self.workers {
            worker.work().backend.start(features);
            if worker.start(self.device.kind()).is_err() {
                // The host has no thread left. The driver sees a device that gives up.
                self.interrupts.ask_for_reset();
                return;
            }
            worker.release(HOLD_INACTIVE);
        }
    }

    /// The driver reset the device, or the machine did.
    fn reset_device(&mut self) {
        for worker in &self.workers {
            worker.hold(HOLD_INACTIVE);
            worker.release(HOLD_BROKEN);
            let mut work = worker.work();
            for ring in &mut work.rings {
                ring.disable();
            }
            work.backend.reset();
        }
        self.device.reset();
        self.registers.reset();
        self.interrupts.reset();
    }

    fn region_read(&self, offset: u64, size: u8) -> u64 {
        let inside = offset % PART;
        match offset - inside {
            COMMON => self.read_common(inside, size),
            ISR if inside == 0 => u64::from(self.interrupts.take_isr()),
            DEVICE => slice_to_value(&self.device.config(), inside, size),
            MSIX_TABLE => self.interrupts.state().msix.read_table(inside, size),
            MSIX_PENDING => self.interrupts.state().msix.read_pending(inside, size),
            _ => 0,
        }
    }

    fn region_write(&mut self, offset: u64, size: u8, value: u64) {
        let inside = offset % PART;
        match offset - inside {
            COMMON => self.write_common(inside, size, value),
            DEVICE => {
                let bytes = value.to_le_bytes();
                let len = usize::from(size).min(bytes.len());
                self.device.config_write(inside, &bytes[..len]);
            }
            NOTIFY => {
                let index = inside / u64::from(NOTIFY_STEP);
                self.notify(u16::try_from(index).unwrap_or(u16::MAX));
            }
            MSIX_TABLE => {
                let mut state = self.interrupts.state();
                state.msix.write_table(inside, size, value);
            }
            _ => {}
        }
    }

    /// The region access that the PCI access capability describes, if it is a possible one.
    fn window(&self) -> Option<(u64, u8)> {
        let at = self.capabilities.access;
        let bar = self.config.read(at + 4, 1);
        let offset = u64::from(self.config.read(at + 8, 4));
        let len = self.config.read(at + 12, 4);
        let possible = bar == u32::from(self.bar)
            && matches!(len, 1 | 2 | 4)
            && offset.is_multiple_of(u64::from(len))
            && offset + u64::from(len) <= BAR_LEN;
        possible.then_some((offset, len as u8))
    }
}

impl PciFunction for VirtioPci {
    fn kind(&self) -> &'static str {
        self.device.kind()
    }

    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_read(&mut self, offset: u16, size: u8) -> u32 {
        if offset == self.capabilities.access + 16
            && let Some((offset, size)) = self.window()
        {
            return self.region_read(offset, size) as u32;
        }
        let mut value = self.config.read(offset, size);
        let status_low = STATUS >= offset && STATUS < offset + u16::from(size);
        if status_low && self.interrupts.intx_pending() {
            value |= u32::from(STATUS_INTX) << (8 * (STATUS - offset));
        }
        value
    }

    fn config_write(&mut self, offset: u16, size: u8, value: u32) {
        self.config.write(offset, size, value);
        if offset == self.capabilities.access + 16 {
            if let Some((offset, size)) = self.window() {
                self.region_write(offset, size, u64::from(value));
            }
            return;
        }
        self.follow_config();
    }

    fn bar_read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        match self.device.beside() {
            _ if bar == self.bar => self.region_read(offset, size),
            _ if bar == EXPANSION_ROM => self.rom.read(offset, size),
            Some(face) => face.read(bar, offset, size),
            None => u64::MAX,
        }
    }

    fn bar_write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        match self.device.beside() {
            _ if bar == self.bar => self.region_write(offset, size, value),
            Some(face) => face.write(bar, offset, size, value),
            None => {}
        }
    }

    fn memories(&self) -> Vec<(u8, DeviceMemory)> {
        let face = self.device.beside().into_iter();
        face.map(|face| (vga::FRAME_BUFFER, face.vram().clone()))
            .collect()
    }

    fn reset(&mut self) {
        self.reset_device();
        self.device.power_on();
        self.config.reset();
        self.interrupts.state().msix.reset();
        self.follow_config();
    }

    fn save(&self) -> DeviceState {
        self.save_state()
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        self.restore_state(state)
    }

    fn quiesce(&mut self) {
        self.paused = true;
        for worker in &self.workers {
            worker.hold(HOLD_PAUSED);
        }
    }

    fn resume(&mut self) {
        self.paused = false;
        for worker in &self.workers {
            worker.release(HOLD_PAUSED);
        }
    }
}

/// Bytes of `bytes` from `offset` on, zeros where there are none.
fn slice_to_value(bytes: &[u8], offset: u64, size: u8) -> u64 {
    let mut value = [0; 8];
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = bytes.get(start..).unwrap_or_default();
    let len = rest.len().min(usize::from(size)).min(value.len());
    value[..len].copy_from_slice(&rest[..len]);
    u64::from_le_bytes(value)
}

fn register_bar(device: &dyn VirtioDevice) -> u8 {
    match device.beside() {
        Some(_) => BAR_BESIDE,
        None => BAR,
    }
}

fn configuration(device: &dyn VirtioDevice, queues: u16) -> Option<(ConfigSpace, Capabilities)> {
    let (id, bar) = (device.id(), register_bar(device));
    let mut config = ConfigSpace::new(&Identity {
        vendor: VENDOR,
        device: DEVICE_ID_BASE + id,
        subsystem_vendor: VENDOR,
        subsystem: 0x40 + id,
        class: device.class(),
        revision: 1,
    })
    .with_bar(bar, BarKind::Memory64, BAR_LEN)
    .with_interrupt_pin(1);
    if let Some(face) = device.beside() {
        config = face.declare(config);
    }
    let parts = [
        (TYPE_COMMON, COMMON, common::LEN, &[][..]),
        (TYPE_ISR, ISR, 1, &[]),
        (TYPE_DEVICE, DEVICE, PART, &[]),
        (
            TYPE_NOTIFY,
            NOTIFY,
            u64::from(queues) * u64::from(NOTIFY_STEP),
            &NOTIFY_STEP.to_le_bytes(),
        ),
    ];
    for (kind, offset, len, extra) in parts {
        config.add_capability(
            CAPABILITY,
            &capability_body((kind, bar), offset, len, extra),
            &[],
        )?;
    }
    // The guest chooses region, offset, length and writes data.
    let mut writable = [0xff; 18];
    writable[..2].fill(0);
    writable[3..6].fill(0);
    let access = capability_body((TYPE_PCI_ACCESS, bar), 0, 0, &[0; 4]);
    let access = config.add_capability(CAPABILITY, &access, &writable)?;
    let (body, writable) = msix_capability(
        queues + 1,
        bar,
        u32::try_from(MSIX_TABLE).ok()?,
        u32::try_from(MSIX_PENDING).ok()?,
    );
    let msix = config.add_capability(MSIX_CAPABILITY, &body, &writable)?;
    let capabilities = Capabilities {
        msix_control: u16::from(msix) + 2,
        access: u16::from(access),
    };
    Some((config, capabilities))
}

/// `struct virtio_pci_cap` after its id and next bytes.
fn capability_body((kind, bar): (u8, u8), offset: u64, len: u64, extra: &[u8]) -> Vec<u8> {
    let total = 16 + extra.len() as u8;
    let mut body = vec![total, kind, bar, 0, 0, 0];
    body.extend_from_slice(&(offset as u32).to_le_bytes());
    body.extend_from_slice(&(len as u32).to_le_bytes());
    body.extend_from_slice(extra);
    body
}

#[cfg(test)]
mod tests;
