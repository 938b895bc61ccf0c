//! Hypercalls, where the machine answers them.
//!
//! Guests may ask the host for more than this; ours answers that it has none of it, and its CPUID
//! does not promise it. Spec: Linux Documentation/virt/kvm/x86/hypercalls.rst.

use devices::irqchip::{DeliveryMode, Destination, LocalApics, Message};

const POLL_IRQ: u64 = 1;
const SEND_IPI: u64 = 10;

const NO_SUCH_HYPERCALL: u64 = 1000u64.wrapping_neg();
const INVALID: u64 = 22u64.wrapping_neg();

/// Bits of the interrupt command register that KVM_HC_SEND_IPI takes: vector and delivery mode.
const ICR_VECTOR_AND_MODE: u64 = 0x7ff;

/// The new RAX.
pub(super) fn answer(number: u64, args: [u64; 4], apics: Option<&LocalApics>) -> u64 {
    match (number, apics) {
        (POLL_IRQ, _) => 0,
        (SEND_IPI, Some(apics)) => send_ipi(args, apics),
        _ => NO_SUCH_HYPERCALL,
    }
}

/// Sends one interrupt to up to 128 processors: two words of bits, the APIC ID of the lowest bit,
/// and the command. Answers how many there are to hear it.
fn send_ipi([low, high, first, command]: [u64; 4], apics: &LocalApics) -> u64 {
    // Three bits that have been masked.
    let mode = DeliveryMode::from_bits((command >> 8 & 7) as u32);
    let wanted = matches!(mode, Some(DeliveryMode::Fixed | DeliveryMode::Nmi));
    let Some(mode) = mode.filter(|_| wanted && command & !ICR_VECTOR_AND_MODE == 0) else {
        return INVALID;
    };
    let present = (0..u64::from(apics.count())).skip(usize::try_from(first).unwrap_or(usize::MAX));
    let bits = u128::from(high) << 64 | u128::from(low);
    let mut sent = 0;
    for (bit, id) in (0..u128::BITS).zip(present) {
        if bits & 1 << bit != 0 {
            apics.deliver(Message {
                mode,
                // The low byte.
                vector: command as u8,
                level_triggered: false,
                // Below the number of processors, which is 32 bits wide.
                destination: Destination::Only(id as u32),
            });
            sent += 1;
        }
    }
    sent
}

#[cfg(test)]
mod tests;
