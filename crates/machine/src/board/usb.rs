//! USB controllers, with what hangs on them.

use std::sync::Arc;

use block::BlockDevice;
use devices::pci::DeviceFunction;
use devices::usb::HidHandle;
use devices::usb::uhci::{self, Uhci, UhciParts};
use devices::usb::xhci::{Xhci, XhciParts};
use devices::virtio::RateGate;

use super::Board;
use crate::MachineError;
use crate::pc;

impl Board {
    /// Plugs an xHCI controller with these disks into the next slot, each with a serial number. Answers which, and the
    /// host's end of its tablet and keyboard.
    pub(crate) fn add_xhci(
        &mut self,
        disks: Vec<(Arc<dyn BlockDevice>, String)>,
        gate: &RateGate,
    ) -> Result<(u8, Option<HidHandle>), MachineError> {
        let (memory, msi) = (self.memory.clone(), self.wires.msi());
        let (pace, timer) = self.pace(gate);
        let mut handle = None;
        let slot = self.plug(None, |line| {
            let parts = XhciParts {
                memory,
                msi,
                line,
                pace,
            };
            let controller = Xhci::new(disks, parts);
            handle = Some(controller.handle());
            Ok(controller)
        })?;
        self.alarm(&timer, DeviceFunction::new(slot, 0));
        Ok((slot, handle))
    }

    /// Plugs UHCI controllers in: one with a tablet and a keyboard, where the PIIX3 has it or into the next slot, and one
    /// for each two disks, which have a serial number each. Answers the slot of the first disk, or else of the keyboard,
    /// and the host's end of tablet and keyboard.
    pub(crate) fn add_uhci(
        &mut self,
        mut disks: Vec<(Arc<dyn BlockDevice>, String)>,
        gate: &RateGate,
    ) -> Result<(u8, Option<HidHandle>), MachineError> {
        let mut handle = None;
        let hands = |parts| {
            let (controller, end) = Uhci::with_hands(parts);
            handle = Some(end);
            controller
        };
        let hands_at = self.add_uhci_controller(true, gate, hands)?;
        let mut disks_at = None;
        while !disks.is_empty() {
            let rest = disks.split_off(disks.len().min(uhci::PORTS));
            let pair = std::mem::replace(&mut disks, rest);
            let with_pair = |parts| Uhci::with_disks(pair, parts);
            let slot = self.add_uhci_controller(false, gate, with_pair)?;
            disks_at.get_or_insert(slot);
        }
        Ok((disks_at.unwrap_or(hands_at), handle))
    }

    /// Answers the slot. With `of_piix3`, it is a function of the PIIX3's on a board that has one.
    fn add_uhci_controller(
        &mut self,
        of_piix3: bool,
        gate: &RateGate,
        make: impl FnOnce(UhciParts) -> Uhci,
    ) -> Result<u8, MachineError> {
        const PIN_A: u8 = 1;
        let (pace, timer) = self.pace(gate);
        let (memory, clock) = (self.memory.clone(), self.clock());
        let parts = |line, pin| UhciParts {
            memory,
            line,
            pin,
            clock,
            pace,
        };
        let at = match self.pirqs.as_ref().filter(|_| of_piix3) {
            Some(pirqs) => {
                let (slot, pin) = (pc::SOUTH_BRIDGE_SLOT, pc::USB_PIN);
                let wire = pc::pci_wire(slot.into(), u32::from(pin) - 1);
                let line = pirqs[wire].input();
                let at = DeviceFunction::new(slot, pc::USB_FUNCTION);
                self.insert(at, make(parts(line, pin)))?;
                at
            }
            None => {
                let slot = self.plug(None, |line| Ok(make(parts(line, PIN_A))))?;
                DeviceFunction::new(slot, 0)
            }
        };
        self.alarm(&timer, at);
        Ok(at.device())
    }
}
