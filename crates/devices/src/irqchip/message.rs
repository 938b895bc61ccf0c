//! Interrupt messages: what an IPI, an MSI or an I/O APIC pin asks of local APICs.
//!
//! Spec: Intel SDM Vol. 3, "Issuing Interprocessor Interrupts" and "Message Signalled Interrupts".
//! The 15-bit destination of an MSI is the convention of KVM ("extended destination ID", Linux
//! Documentation/virt/kvm/x86/cpuid.rst, KVM_FEATURE_MSI_EXT_DEST_ID): address bits 11 to 5.

/// How an interrupt is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryMode {
    Fixed,
    LowestPriority,
    Smi,
    Nmi,
    Init,
    Startup,
    ExtInt,
}

impl DeliveryMode {
    /// From the three bits that LVTs, ICR, MSI data and redirection entries share.
    #[must_use]
    pub fn from_bits(bits: u32) -> Option<DeliveryMode> {
        match bits & 7 {
            0 => Some(DeliveryMode::Fixed),
            1 => Some(DeliveryMode::LowestPriority),
            2 => Some(DeliveryMode::Smi),
            4 => Some(DeliveryMode::Nmi),
            5 => Some(DeliveryMode::Init),
            6 => Some(DeliveryMode::Startup),
            7 => Some(DeliveryMode::ExtInt),
            _ => None,
        }
    }
}

/// Which local APICs a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    Physical(u32),
    Logical(u32),
    /// The vCPU of this number.
    Only(u32),
    Everyone,
    /// Everyone but the vCPU of this number.
    Others(u32),
}

/// An interrupt on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    pub mode: DeliveryMode,
    pub vector: u8,
    pub level_triggered: bool,
    pub destination: Destination,
}

const MSI_ADDRESS: u64 = 0xfee0_0000;
const MSI_ADDRESS_MASK: u64 = 0xffff_ffff_fff0_0000;
const REDIRECTION_HINT: u64 = 1 << 3;
const LOGICAL: u64 = 1 << 2;

const DATA_ASSERT: u32 = 1 << 14;
const DATA_LEVEL: u32 = 1 << 15;

impl Message {
    /// What a write of `data` to `address` asks for; `None` when it asks for nothing.
    #[must_use]
    pub fn from_msi(address: u64, data: u32) -> Option<Message> {
        if address & MSI_ADDRESS_MASK != MSI_ADDRESS {
            return None;
        }
        let level_triggered = data & DATA_LEVEL != 0;
        if level_triggered && data & DATA_ASSERT == 0 {
            return None;
        }
        let mut mode = DeliveryMode::from_bits(data >> 8)?;
        if address & REDIRECTION_HINT != 0 && address & LOGICAL != 0 && mode == DeliveryMode::Fixed
        {
            mode = DeliveryMode::LowestPriority;
        }
        let low = u32::from(address.to_le_bytes()[2] & 0xf) << 4
            | u32::from(address.to_le_bytes()[1] >> 4);
        let high = u32::from(address.to_le_bytes()[1] & 0xf) << 3
            | u32::from(address.to_le_bytes()[0] >> 5);
        let destination = match (low, high) {
            (0xff, 0) => Destination::Everyone,
            _ if address & LOGICAL != 0 => Destination::Logical(high << 8 | low),
            _ => Destination::Physical(high << 8 | low),
        };
        Some(Message {
            mode,
            vector: data.to_le_bytes()[0],
            level_triggered,
            destination,
        })
    }

    /// What the interrupt command register of vCPU `cpu` asks for. `target` is the destination
    /// field, 8 bits from an xAPIC and 32 from an x2APIC.
    #[must_use]
    pub fn from_icr(command: u32, target: u32, x2apic: bool, cpu: u32) -> Option<Message> {
        let mode = DeliveryMode::from_bits(command >> 8)?;
        let level_triggered = command & DATA_LEVEL != 0;
        // INIT level de-assert: only processors before the Pentium 4 listen to it.
        if mode == DeliveryMode::Init && level_triggered && command & DATA_ASSERT == 0 {
            return None;
        }
        let broadcast = if x2apic { u32::MAX } else { 0xff };
        let destination = match command >> 18 & 3 {
            1 => Destination::Only(cpu),
            2 => Destination::Everyone,
            3 => Destination::Others(cpu),
            _ if target == broadcast => Destination::Everyone,
            _ if command & 1 << 11 != 0 => Destination::Logical(target),
            _ => Destination::Physical(target),
        };
        Some(Message {
            mode,
            vector: command.to_le_bytes()[0],
            // Spec: SDM, "Interrupt Command Register": IPIs are always edge-triggered but INIT.
            level_triggered: false,
            destination,
        })
    }
}

#[cfg(test)]
mod tests;
