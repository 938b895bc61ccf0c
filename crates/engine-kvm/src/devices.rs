//! State of the devices that the kernel plays: two PICs, the I/O APIC, the PIT, the guest's clock.
//! (A local APIC belongs to its vCPU's state.)
//! Spec: Linux Documentation/virt/kvm/api.rst, "KVM_GET_IRQCHIP", "KVM_GET_PIT2", "KVM_GET_CLOCK".

mod exchange;

use engine::EngineError;
use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_clock_data, kvm_irqchip,
    kvm_pit_state2,
};
use kvm_ioctls::VmFd;
use serde::{Deserialize, Serialize};
use x86::chips::Chips;

use crate::host;

const VERSION: u16 = 1;

/// In the order of [`CHIPS`]; the kernel's own layouts, which are its stable interface.
#[derive(Debug, Serialize, Deserialize)]
struct DevicesV1 {
    chips: [kvm_irqchip; 3],
    pit: kvm_pit_state2,
    /// kvmclock, in nanoseconds.
    clock: u64,
}

const CHIPS: [u32; 3] = [
    KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE,
    KVM_IRQCHIP_IOAPIC,
];

pub(crate) fn save(fd: &VmFd) -> Result<Vec<u8>, EngineError> {
    let mut chips = CHIPS.map(|chip_id| kvm_irqchip {
        chip_id,
        ..kvm_irqchip::default()
    });
    for chip in &mut chips {
        fd.get_irqchip(chip)
            .map_err(host("cannot read an interrupt controller"))?;
    }
    let pit = fd.get_pit2().map_err(host("cannot read the PIT"))?;
    let clock = fd
        .get_clock()
        .map_err(host("cannot read the guest's clock"))?
        .clock;
    encoded(DevicesV1 { chips, pit, clock })
}

fn encoded(devices: DevicesV1) -> Result<Vec<u8>, EngineError> {
    postcard::to_stdvec(&(VERSION, devices)).map_err(|_| EngineError::Unsupported {
        what: "writing the state of KVM's devices",
    })
}

/// What the kernel's devices held when these bytes were saved.
///
/// # Errors
/// When the bytes are no such state.
pub fn chips_of(state: &[u8]) -> Result<Chips, EngineError> {
    Ok(decoded(state)?.chips())
}

/// The state of devices that hold this, for the kernel to take.
///
/// # Errors
/// When it cannot be encoded, which would be a bug.
pub fn state_of(chips: &Chips) -> Result<Vec<u8>, EngineError> {
    encoded(DevicesV1::of_chips(chips))
}

fn decoded(state: &[u8]) -> Result<DevicesV1, EngineError> {
    let wrong = |what: &str| EngineError::State {
        what: what.to_owned(),
    };
    let (version, body) = postcard::take_from_bytes::<u16>(state)
        .map_err(|_| wrong("device bytes that are not KVM's"))?;
    if version != VERSION {
        return Err(wrong("KVM devices of another version"));
    }
    postcard::from_bytes(body).map_err(|_| wrong("device bytes that are not KVM's"))
}

pub(crate) fn restore(fd: &VmFd, state: &[u8]) -> Result<(), EngineError> {
    let devices = decoded(state)?;
    // The chip's number is ours to say, whatever the bytes claim.
    for (chip_id, chip) in CHIPS.into_iter().zip(devices.chips) {
        fd.set_irqchip(&kvm_irqchip { chip_id, ..chip })
            .map_err(host("cannot restore an interrupt controller"))?;
    }
    fd.set_pit2(&devices.pit)
        .map_err(host("cannot restore the PIT"))?;
    let clock = kvm_clock_data {
        clock: devices.clock,
        ..kvm_clock_data::default()
    };
    fd.set_clock(&clock)
        .map_err(host("cannot restore the guest's clock"))
}
