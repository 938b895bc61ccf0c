//! Devices that come to a PCI bus and go from it, while a guest does anything with the registers that tell
//! of them, with their configuration spaces and with their regions.

use std::sync::{Arc, Mutex, PoisonError};

use devices::Device;
use devices::acpi_slots::{AcpiSlots, AcpiSlotsParts, Ejector};
use devices::pci::{ConfigPorts, DeviceFunction, PciRoot};
use devices::testing::{FakeLine, FakeLines};

use crate::Input;
use crate::pci::{memory, virtio, windows};

/// What the guest has let go of, which the machine takes out later.
#[derive(Debug, Default)]
struct Ejected(Mutex<u32>);

impl Ejector for Ejected {
    fn eject(&self, slots: u32) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) |= slots;
    }
}

impl Ejected {
    fn take(&self) -> u32 {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Board {
    root: PciRoot,
    ports: ConfigPorts,
    slots: AcpiSlots,
    ejected: Arc<Ejected>,
}

impl Board {
    fn new() -> Board {
        let root = PciRoot::new(windows());
        let ejected = Arc::new(Ejected::default());
        Board {
            ports: ConfigPorts::new(root.clone(), FakeLines::new()),
            root,
            slots: AcpiSlots::new(AcpiSlotsParts {
                ejector: Arc::clone(&ejected) as _,
                event: FakeLine::new(),
            }),
            ejected,
        }
    }

    fn plug(&mut self, slot: u8, kind: u8) {
        let at = DeviceFunction::new(slot, 0);
        let (function, _) = virtio(kind, &memory());
        if self.root.insert(at, function).is_ok() {
            self.root.may_go(at);
            self.slots.comes(slot);
        }
    }

    /// Between two instructions.
    fn take_out(&mut self) {
        let ejected = self.ejected.take();
        for slot in (0..32).filter(|slot| ejected & 1 << slot != 0) {
            let at = DeviceFunction::new(slot, 0);
            if self.root.find_removable(at) == Some(true) {
                self.slots.gone(1 << slot);
                drop(self.root.remove(at));
            }
        }
    }

    fn begin_anew(&mut self) {
        self.root.quiesce();
        let (bus, slots) = (self.ports.save(), self.slots.save());
        assert_eq!(self.ports.restore(&bus), Ok(()), "its own state is refused");
        assert_eq!(
            self.slots.restore(&slots),
            Ok(()),
            "its own state is refused"
        );
        assert_eq!((self.ports.save(), self.slots.save()), (bus, slots));
        self.root.resume();
    }
}

/// Registers by the guest, comings and goings by the host.
pub(crate) fn hot_plug(bytes: &[u8]) {
    crate::strict();
    let mut input = Input::new(bytes);
    let mut board = Board::new();
    while !input.is_empty() {
        let slot = input.byte() & 31;
        match input.byte() & 15 {
            0 | 1 => board.plug(slot, input.byte()),
            2 => board.slots.ask(slot),
            3 => board.slots.reset(),
            4 => board.begin_anew(),
            5 => board.ports.reset(),
            6 => {
                let size = input.choose(&[1, 2, 4, 8]);
                let _ = board.slots.read(u64::from(slot), size);
            }
            7..=10 => {
                let size = input.choose(&[1, 2, 4, 8]);
                board
                    .slots
                    .write(u64::from(slot & 15), size, input.number());
            }
            11 | 12 => {
                let (offset, value) = (input.u16() & 0xff, input.u32());
                let at = DeviceFunction::new(slot, 0);
                board.root.config_write(0, at, offset & !3, 4, value);
                let _ = board.root.config_read(0, at, offset & !3, 4);
            }
            13 => board.root.memory_write(input.number(), 4, input.number()),
            _ => drop(board.root.memory_read(input.number(), 4)),
        }
        board.take_out();
    }
}
