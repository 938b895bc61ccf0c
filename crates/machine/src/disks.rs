//! Disks, by the controllers that a description asks for.

use std::sync::Arc;

use ::migration::Tracked;
use block::BlockDevice;
use devices::ide::Drive;
use devices::pci::OptionRom;
use devices::usb::xhci::MOST_DISKS as MOST_USB_DISKS;
use devices::virtio::{Block, BlockOptions};

use crate::MachineError;
use crate::board::Board;
use crate::config::{DiskBus, DiskConfig, MachineConfig, UsbController};
use crate::control::{FullDisk, MachineControl};
use crate::pc::{self, BootPlaces, SataDrives};
use crate::peripherals::Peripherals;
use crate::plugging::Plugged;

impl Peripherals {
    /// NVMe, SATA and virtio disks; what has gone leaves the slot empty that it would have got.
    pub(crate) fn add_disks(
        &mut self,
        board: &mut Board,
        config: &MachineConfig,
        control: &MachineControl,
        places: &mut BootPlaces,
    ) -> Result<(), MachineError> {
        places.ide_disk = config
            .disks
            .first()
            .is_some_and(|disk| disk.bus == DiskBus::Ide);
        let mut usb = true;
        let mut sata = Some(pc::sata_drives(
            &config.disks,
            config.firmware.as_ref(),
            control,
        )?);
        for (number, disk) in config
            .disks
            .iter()
            .enumerate()
            .filter(|(_, disk)| !disk.gone)
        {
            control.count_disk(&id_of(number, disk), &disk.traffic);
        }
        for (number, disk) in config.disks.iter().enumerate() {
            if disk.bus == DiskBus::Ide {
                // The controller of old has those.
            } else if disk.bus == DiskBus::Nvme {
                let opened = pc::open_disk(disk)?;
                let gate = &control.gates().disk;
                let slot = board.add_nvme(disk.counted(Arc::clone(&opened)), &disk.serial, gate)?;
                places.disk.get_or_insert((slot, disk.bus));
                self.old_disks.push(opened);
            } else if disk.bus == DiskBus::Usb {
                if std::mem::take(&mut usb) {
                    let slot = self.add_usb(board, config, control)?;
                    places.disk.get_or_insert((slot, disk.bus));
                }
            } else if disk.bus == DiskBus::Sata {
                if let Some(drives) = sata.take() {
                    let slot = self.add_sata(board, drives, control, places)?;
                    places.disk.get_or_insert((slot, disk.bus));
                }
            } else if !disk.gone {
                let added = add_disk(board, disk, &id_of(number, disk), control)?;
                places.disk.get_or_insert((added.slot, disk.bus));
                self.plugged.push(Plugged {
                    number: Some(number),
                    ..added
                });
            } else if disk.slot.is_none() {
                board.skip_slot();
            }
        }
        if usb && config.usb.hands {
            self.add_usb(board, config, control)?;
        }
        // Only the CD-ROM drive hangs there.
        if let Some(drives) = sata.filter(|sata| !sata.drives.is_empty()) {
            self.add_sata(board, drives, control, places)?;
        }
        Ok(())
    }

    /// USB with all that hangs on it. Answers the slot of its disks, or of its tablet and keyboard if there are none.
    fn add_usb(
        &mut self,
        board: &mut Board,
        config: &MachineConfig,
        control: &MachineControl,
    ) -> Result<u8, MachineError> {
        let mut disks = Vec::new();
        for disk in config.disks.iter().filter(|disk| disk.bus == DiskBus::Usb) {
            let opened = pc::open_disk(disk)?;
            self.old_disks.push(Arc::clone(&opened));
            disks.push((disk.counted(opened), disk.serial.clone()));
        }
        if disks.len() > MOST_USB_DISKS {
            return Err(MachineError::TooManyUsbDisks {
                most: MOST_USB_DISKS,
            });
        }
        let gate = &control.gates().disk;
        let (slot, handle) = match config.usb.controller {
            UsbController::Xhci => board.add_xhci(disks, gate)?,
            UsbController::Uhci => board.add_uhci(disks, gate)?,
        };
        if let Some(handle) = handle {
            control.connect_usb(handle);
        }
        Ok(slot)
    }

    /// The AHCI controller with all that hangs on it. Answers its slot.
    fn add_sata(
        &mut self,
        board: &mut Board,
        sata: SataDrives,
        control: &MachineControl,
        places: &mut BootPlaces,
    ) -> Result<u8, MachineError> {
        let (gate, bell) = (&control.gates().disk, control.tray_bell());
        let (slot, tray) = board.add_ahci(sata.drives, sata.cd, gate, bell)?;
        if let Some(tray) = tray {
            control.connect_drive(pc::CD_NAME, Arc::new(tray));
        }
        places.sata_cd = sata.cd.map(|port| (slot, port));
        self.old_disks.extend(sata.disks);
        Ok(slot)
    }
}

/// The disk controller of old, which a board with firmware always has. Answers the disks on it.
pub(crate) fn add_old_disks(
    board: &mut Board,
    config: &MachineConfig,
    control: &MachineControl,
) -> Result<Vec<Arc<dyn BlockDevice>>, MachineError> {
    let Some(firmware) = &config.firmware else {
        let old = config.disks.iter().any(|disk| disk.bus == DiskBus::Ide);
        return match old {
            true => Err(MachineError::TooManyIdeDisks { most: 0 }),
            false => Ok(Vec::new()),
        };
    };
    let drives = pc::drives(&config.disks, firmware, control)?;
    let disks = drives.iter().flatten().filter_map(|drive| match drive {
        Drive::Disk { disk, .. } => Some(Arc::clone(disk)),
        Drive::Cd(_) => None,
    });
    let disks = disks.collect();
    let tray = board.add_ide(drives, &control.gates().disk, control.tray_bell())?;
    if firmware.cd.is_some() && !firmware.cd_sata {
        control.connect_drive(pc::CD_NAME, Arc::new(tray));
    }
    Ok(disks)
}

fn id_of(number: usize, disk: &DiskConfig) -> String {
    match disk.id.is_empty() {
        true => format!("virtio{number}"),
        false => disk.id.clone(),
    }
}

/// `id` is what others call it, also where it cannot be taken out by that.
pub(crate) fn add_disk(
    board: &mut Board,
    disk: &DiskConfig,
    id: &str,
    control: &MachineControl,
) -> Result<Plugged, MachineError> {
    let opened = Arc::new(Tracked::new(pc::open_disk(disk)?));
    if !disk.id.is_empty() {
        control.count_disk(&disk.id, &disk.traffic);
    }
    let options = BlockOptions {
        serial: disk.serial.clone(),
        ..BlockOptions::default()
    };
    let gate = control.gates().disk.clone();
    let no_room = control.no_room(FullDisk {
        id: id.to_owned(),
        image: opened.identify(),
    });
    let counted = disk.counted(Arc::<Tracked>::clone(&opened));
    let device = Block::new(counted, &options)
        .through(gate)
        .keeping(Arc::new(no_room));
    Ok(Plugged {
        id: disk.id.clone(),
        slot: board.add_removable(disk.slot, device, OptionRom::default())?,
        disk: Some(opened),
        number: None,
    })
}
