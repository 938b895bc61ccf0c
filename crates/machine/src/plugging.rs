//! Devices that come and go while the guest runs: disks and network cards.
//!
//! Problem: a device is many things (a function on the bus, a wire, threads, files), the guest has its say
//! about when it goes, and a machine that is saved or reset meanwhile must be one or the other. Choice: the
//! machine is changed by whoever runs it, with its processors standing still, as for everything else that is
//! asked of it ([`crate::MachineControl`]); the guest learns of it by ACPI ([`devices::acpi_slots`]), which every operating
//! system knows, and lets go of a device by the same way. Rejected: PCI Express's own hot-plug, which needs a
//! bridge for each slot and is not on the board of firmware.
//!
//! Slots: devices that a description has get the next ones upwards, as always. What comes later gets one from
//! the top, and keeps it: so a machine that is made of a description that has come to include it is the same
//! again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use block::BlockDevice;
use devices::Line;
use devices::acpi_slots::{self, AcpiSlots, AcpiSlotsParts, Ejector};
use devices::pci::DeviceFunction;

use migration::Tracked;

use crate::MachineError;
use crate::board::{Board, PCI_SLOTS};
use crate::config::{DiskConfig, NetworkConfig, NetworkModel};
use crate::control::MachineControl;
use crate::disks;
use crate::machine::Machine;
use crate::network;
use crate::sync::lock;

/// What came or comes with a name.
#[derive(Debug)]
pub(crate) struct Plugged {
    pub(crate) id: String,
    pub(crate) slot: u8,
    pub(crate) disk: Option<Arc<Tracked>>,
    /// The disk's number in the description, where the machine was made with it.
    pub(crate) number: Option<usize>,
}

/// A device with a name, as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluggedReport {
    pub id: String,
    pub slot: u8,
    /// The guest was asked to let go of it, and has not.
    pub leaving: bool,
}

/// What is to be plugged in.
#[derive(Debug)]
pub enum Plug {
    Disk(Box<DiskConfig>),
    Network(Box<NetworkConfig>),
}

impl Plug {
    fn id(&self) -> &str {
        match self {
            Plug::Disk(disk) => &disk.id,
            Plug::Network(network) => &network.id,
        }
    }

    fn slot(&self) -> Option<u8> {
        match self {
            Plug::Disk(disk) => disk.slot,
            Plug::Network(network) => network.slot,
        }
    }

    fn set_slot(&mut self, slot: u8) {
        match self {
            Plug::Disk(disk) => disk.slot = Some(slot),
            Plug::Network(network) => network.slot = Some(slot),
        }
    }
}

/// What a guest has let go of, until whoever runs the machine takes it out.
#[derive(Debug, Default)]
pub(crate) struct Ejected(AtomicU32);

impl Ejected {
    fn add(&self, slots: u32) {
        self.0.fetch_or(slots, Ordering::SeqCst);
    }

    fn take(&self) -> u32 {
        self.0.swap(0, Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct MachineEjector(MachineControl);

impl Ejector for MachineEjector {
    fn eject(&self, slots: u32) {
        self.0.ejected().add(slots);
        self.0.look();
    }
}

/// Puts the registers on the board. Without them nothing comes or goes.
pub(crate) fn add(
    board: &mut Board,
    event: Arc<dyn Line>,
    control: &MachineControl,
) -> Result<Arc<Mutex<AcpiSlots>>, MachineError> {
    let ejector = Arc::new(MachineEjector(control.clone()));
    let device = AcpiSlots::new(AcpiSlotsParts { ejector, event });
    let device = Arc::new(Mutex::new(device));
    board.add_ports(SLOTS_NAME, Arc::clone(&device), &acpi_slots::PORTS)?;
    Ok(device)
}

/// Under which the registers are saved, by machines that have them.
pub(crate) const SLOTS_NAME: &str = "acpi-slots";

impl Machine {
    /// Puts a device into a slot and tells the guest. Answers which.
    ///
    /// # Errors
    /// When there is no slot left, or one of that name, or its files cannot be used.
    pub(crate) fn plug(&mut self, mut plug: Plug) -> Result<u8, MachineError> {
        if !self.peripherals.hot_plug {
            return Err(MachineError::NoHotPlug);
        }
        let id = plug.id().to_owned();
        if self.peripherals.plugged.iter().any(|it| it.id == id) {
            return Err(MachineError::IdTaken { id });
        }
        let slot = match plug.slot() {
            Some(slot) => slot,
            None => self
                .board
                .free_slot()
                .ok_or(MachineError::NoSlot { most: PCI_SLOTS })?,
        };
        plug.set_slot(slot);
        let refused = || MachineError::Pci {
            what: "only virtio cards come to a guest that runs".to_owned(),
        };
        if matches!(&plug, Plug::Network(card) if card.model != NetworkModel::Virtio) {
            return Err(refused());
        }
        let vcpus = u32::try_from(self.vcpus.len()).unwrap_or(u32::MAX);
        let (board, control) = (&mut self.board, &self.shared.control);
        let plugged = match plug {
            Plug::Disk(disk) => disks::add_disk(board, &disk, &disk.id, control)?,
            Plug::Network(card) => {
                let (_, plugged) = network::add(board, &card, vcpus, control)?;
                plugged.ok_or_else(refused)?
            }
        };
        self.peripherals.plugged.push(plugged);
        lock(&self.peripherals.slots).comes(slot);
        self.report_plugged();
        Ok(slot)
    }

    /// Asks the guest to let go of a device.
    ///
    /// # Errors
    /// When there is none of that name, or the guest cannot be told.
    pub(crate) fn ask_out(&mut self, id: &str) -> Result<(), MachineError> {
        let found = self.peripherals.plugged.iter().find(|it| it.id == id);
        let slot = match found {
            Some(plugged) => plugged.slot,
            None => return Err(MachineError::NotPlugged { id: id.to_owned() }),
        };
        if !self.peripherals.hot_plug {
            return Err(MachineError::NoHotPlug);
        }
        lock(&self.peripherals.slots).ask(slot);
        self.report_plugged();
        Ok(())
    }

    /// Takes out what the guest has let go of, where it may go.
    pub(crate) fn take_ejected(&mut self) {
        let ejected = self.shared.control.ejected().take();
        let mut gone = 0;
        for slot in (0..PCI_SLOTS).filter(|slot| ejected & 1 << slot != 0) {
            let at = DeviceFunction::new(slot, 0);
            if self.board.pci.find_removable(at) != Some(true) {
                continue;
            }
            gone |= 1 << slot;
            // Its threads end here, with what they were at.
            drop(self.board.pci.remove(at));
        }
        let all = std::mem::take(&mut self.peripherals.plugged);
        let (out, kept) = all.into_iter().partition(|it| gone & 1 << it.slot != 0);
        self.peripherals.plugged = kept;
        for disk in Vec::<Plugged>::into_iter(out).filter_map(|it| it.disk) {
            // What cannot be written the guest was told when it flushed; nobody else is there to hear it.
            let _ = disk.flush();
        }
        if gone != 0 {
            lock(&self.peripherals.slots).gone(gone);
            self.report_plugged();
            self.shared.control.tell_news();
        }
    }

    /// After a restore: what the saved machine had no more is here no more.
    pub(crate) fn forget_gone(&mut self) {
        let pci = &self.board.pci;
        let there = |it: &Plugged| {
            pci.find_removable(DeviceFunction::new(it.slot, 0))
                .is_some()
        };
        self.peripherals.plugged.retain(there);
        self.report_plugged();
    }

    pub(crate) fn report_plugged(&self) {
        let asked = lock(&self.peripherals.slots).asked();
        let reports = self.peripherals.plugged.iter().map(|it| PluggedReport {
            id: it.id.clone(),
            slot: it.slot,
            leaving: asked & 1 << it.slot != 0,
        });
        self.shared.control.set_plugged(reports.collect());
    }
}
