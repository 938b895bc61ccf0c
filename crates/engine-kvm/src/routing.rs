//! Which input of which controller a global system interrupt drives, and the doorbells (eventfds)
//! that work without an exit. Spec: Linux Documentation/virt/kvm/api.rst, "KVM_SET_GSI_ROUTING",
//! "KVM_IRQFD", "KVM_IOEVENTFD".
//!
//! GSI n below 16 is ISA interrupt n at the PICs and pin n of the I/O APIC; from 16 to 23 the I/O
//! APIC alone. Except: the PIT (ISA interrupt 0, which the kernel raises itself) is wired to pin 2
//! as on every PC, and the firmware tables say so with an interrupt source override. Numbers from 24
//! up are messages, one for each irqfd.

use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::{EngineError, MsiMessage};
use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE, KvmIrqRouting, kvm_irq_routing_entry, kvm_irq_routing_irqchip,
    kvm_irq_routing_msi,
};
use kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};
use memory::Gpa;
use vmm_sys_util::eventfd::EventFd;

use crate::{KvmEngine, host};

const FIRST_MESSAGE_GSI: u32 = 24;

/// The messages in use; a free number holds `None`.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    messages: Mutex<Vec<Option<MsiMessage>>>,
}

/// An eventfd that sends a message. Keep it to change or remove the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsiRoute {
    gsi: u32,
}

/// Where a guest's write rings an ioeventfd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventAddress {
    Port(u16),
    Mmio(Gpa),
}

/// Low and high half.
pub(crate) fn halves(address: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = address.to_le_bytes();
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    ]
}

fn chip_entry(gsi: u32, irqchip: u32, pin: u32) -> kvm_irq_routing_entry {
    let mut entry = kvm_irq_routing_entry {
        gsi,
        type_: KVM_IRQ_ROUTING_IRQCHIP,
        ..kvm_irq_routing_entry::default()
    };
    entry.u.irqchip = kvm_irq_routing_irqchip { irqchip, pin };
    entry
}

fn message_entry(gsi: u32, message: MsiMessage) -> kvm_irq_routing_entry {
    let [address_lo, address_hi] = halves(message.address);
    let mut entry = kvm_irq_routing_entry {
        gsi,
        type_: KVM_IRQ_ROUTING_MSI,
        ..kvm_irq_routing_entry::default()
    };
    entry.u.msi = kvm_irq_routing_msi {
        address_lo,
        address_hi,
        data: message.data,
        ..kvm_irq_routing_msi::default()
    };
    entry
}

fn pin_entries() -> Vec<kvm_irq_routing_entry> {
    let mut entries = Vec::new();
    for gsi in 0..FIRST_MESSAGE_GSI {
        match gsi {
            // The cascade: no device is there.
            2 => {}
            0..8 => entries.push(chip_entry(gsi, KVM_IRQCHIP_PIC_MASTER, gsi)),
            8..16 => entries.push(chip_entry(gsi, KVM_IRQCHIP_PIC_SLAVE, gsi - 8)),
            _ => {}
        }
        match gsi {
            0 => entries.push(chip_entry(gsi, KVM_IRQCHIP_IOAPIC, 2)),
            2 => {}
            _ => entries.push(chip_entry(gsi, KVM_IRQCHIP_IOAPIC, gsi)),
        }
    }
    entries
}

impl Routing {
    fn lock(&self) -> MutexGuard<'_, Vec<Option<MsiMessage>>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the kernel all routes.
    pub(crate) fn install(&self, fd: &VmFd) -> Result<(), EngineError> {
        install(fd, &self.lock())
    }
}

fn install(fd: &VmFd, messages: &[Option<MsiMessage>]) -> Result<(), EngineError> {
    let mut entries = pin_entries();
    for (gsi, message) in (FIRST_MESSAGE_GSI..).zip(messages) {
        entries.extend(message.map(|message| message_entry(gsi, message)));
    }
    let routing = KvmIrqRouting::from_entries(&entries).map_err(|_| EngineError::Unsupported {
        what: "so many interrupt routes",
    })?;
    fd.set_gsi_routing(&routing)
        .map_err(host("cannot route interrupts"))
}

impl KvmEngine {
    /// From now on a write to `event` sends `message` to the guest, without a thread of ours.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn irqfd(&self, event: &EventFd, message: MsiMessage) -> Result<MsiRoute, EngineError> {
        let mut messages = self.routing.lock();
        let index = messages
            .iter()
            .position(Option::is_none)
            .unwrap_or(messages.len());
        if index == messages.len() {
            messages.push(None);
        }
        messages[index] = Some(message);
        let gsi = FIRST_MESSAGE_GSI + u32::try_from(index).unwrap_or(u32::MAX);
        let done = install(self.fd(), &messages).and_then(|()| {
            self.fd()
                .register_irqfd(event, gsi)
                .map_err(host("cannot attach an irqfd"))
        });
        if let Err(error) = done {
            messages[index] = None;
            return Err(error);
        }
        Ok(MsiRoute { gsi })
    }

    /// The event sends another message from now on: the guest rewrote its MSI-X table.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn change_irqfd(&self, route: MsiRoute, message: MsiMessage) -> Result<(), EngineError> {
        let mut messages = self.routing.lock();
        if let Some(slot) = messages.get_mut((route.gsi - FIRST_MESSAGE_GSI) as usize) {
            *slot = Some(message);
        }
        install(self.fd(), &messages)
    }

    /// Detaches what [`KvmEngine::irqfd`] attached.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn remove_irqfd(&self, event: &EventFd, route: MsiRoute) -> Result<(), EngineError> {
        self.fd()
            .unregister_irqfd(event, route.gsi)
            .map_err(host("cannot detach an irqfd"))?;
        let mut messages = self.routing.lock();
        if let Some(slot) = messages.get_mut((route.gsi - FIRST_MESSAGE_GSI) as usize) {
            *slot = None;
        }
        install(self.fd(), &messages)
    }

    /// From now on a guest's write to `address` (of this value, where one is given; 16 bits wide as
    /// virtio's doorbells are) signals `event` and makes no exit.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn ioeventfd(
        &self,
        event: &EventFd,
        address: EventAddress,
        value: Option<u16>,
    ) -> Result<(), EngineError> {
        let address = io_address(address);
        match value {
            Some(value) => self.fd().register_ioevent(event, &address, value),
            None => self.fd().register_ioevent(event, &address, NoDatamatch),
        }
        .map_err(host("cannot attach an ioeventfd"))
    }

    /// Detaches what [`KvmEngine::ioeventfd`] attached.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn remove_ioeventfd(
        &self,
        event: &EventFd,
        address: EventAddress,
        value: Option<u16>,
    ) -> Result<(), EngineError> {
        let address = io_address(address);
        match value {
            Some(value) => self.fd().unregister_ioevent(event, &address, value),
            None => self.fd().unregister_ioevent(event, &address, NoDatamatch),
        }
        .map_err(host("cannot detach an ioeventfd"))
    }
}

fn io_address(address: EventAddress) -> IoEventAddress {
    match address {
        EventAddress::Port(port) => IoEventAddress::Pio(u64::from(port)),
        EventAddress::Mmio(gpa) => IoEventAddress::Mmio(gpa.0),
    }
}
