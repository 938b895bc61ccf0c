//! A machine that was saved under an engine with interrupt controllers, for one that leaves them to
//! us, and the reverse.

use devices::irqchip::{ioapic, pic};
use devices::timers::pit;
use devices::{DeviceState, RestoreError};
use x86::ApicState;
use x86::chips::Chips;

use super::{SavedMachine, damaged};
use crate::MachineError;

/// Devices that only one of the two kinds of machine has, by the names of the board.
const PIC: &str = "pic";
const IOAPIC: &str = "ioapic";
const PIT: &str = "pit";

/// Of IA32_APIC_BASE: the APIC is in x2APIC mode.
const X2APIC: u64 = 1 << 10;
/// The register with the APIC's ID, and where the ID is unless the mode is x2APIC.
const APIC_ID: usize = 2;
const APIC_ID_SHIFT: u32 = 24;

impl SavedMachine {
    /// Were the interrupt controllers the engine's?
    fn in_kernel(&self) -> bool {
        !self.engine_devices.is_empty()
    }

    /// As it would have been saved by a machine whose interrupt controllers are the engine's, or not,
    /// and whose devices are called so, in this order.
    ///
    /// # Errors
    /// When what is to be converted is damaged.
    pub(super) fn exchanged<'a>(
        &self,
        in_kernel: bool,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Option<SavedMachine>, MachineError> {
        if self.in_kernel() == in_kernel {
            return Ok(None);
        }
        let mut other = self.clone();
        if in_kernel {
            other.engine_devices = engine_kvm::state_of(&self.chips()?)
                .map_err(|error| damaged(&error.to_string()))?;
            other
                .devices
                .retain(|(name, _)| ![PIC, IOAPIC, PIT].contains(&name.as_str()));
            for (id, vcpu) in (0..).zip(&mut other.vcpus) {
                for_the_kernel(&mut vcpu.apic, id);
            }
            return Ok(Some(other));
        }
        let chips = engine_kvm::chips_of(&self.engine_devices)
            .map_err(|error| damaged(&error.to_string()))?;
        other.engine_devices.clear();
        // What the guest reads does not go back.
        other.clock = self.clock.max(chips.clock);
        let mut rest = std::mem::take(&mut other.devices);
        for name in names {
            let state = match name {
                PIC => pic::exchange::saved(&chips.pics),
                IOAPIC => ioapic::exchange::saved(&chips.ioapic),
                PIT => pit::exchange::saved(&chips.pit, chips.speaker, other.clock),
                _ => {
                    let found = rest.iter().position(|(saved, _)| saved == name);
                    other.devices.extend(found.map(|at| rest.remove(at)));
                    continue;
                }
            };
            other.devices.push((name.to_owned(), state));
        }
        // What this machine does not have is found out by whoever compares.
        other.devices.extend(rest);
        Ok(Some(other))
    }

    fn chips(&self) -> Result<Chips, MachineError> {
        let (pit, speaker) = self.chip(PIT, |state| pit::exchange::channels(state, self.clock))?;
        Ok(Chips {
            pics: self.chip(PIC, pic::exchange::registers)?,
            ioapic: self.chip(IOAPIC, ioapic::exchange::registers)?,
            pit,
            speaker,
            clock: self.clock,
        })
    }

    fn chip<T>(
        &self,
        wanted: &str,
        read: impl FnOnce(&DeviceState) -> Result<T, RestoreError>,
    ) -> Result<T, MachineError> {
        let found = self.devices.iter().find(|(name, _)| name == wanted);
        let (_, state) = found.ok_or_else(|| damaged(&format!("it has no {wanted}")))?;
        Ok(read(state)?)
    }
}

/// The kernel keeps an APIC's ID in bits 31:24 in x2APIC mode too.
/// Spec: Linux Documentation/virt/kvm/api.rst, "KVM_GET_LAPIC".
fn for_the_kernel(apic: &mut ApicState, id: u32) {
    if apic.base & X2APIC == 0 {
        return;
    }
    if let Some(register) = apic.registers.get_mut(APIC_ID) {
        *register = id << APIC_ID_SHIFT;
    }
}
