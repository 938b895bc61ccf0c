//! kvmclock for software engines: the guest reads its TSC and scales it by what we wrote for it.
//!
//! Spec: Linux Documentation/virt/kvm/x86/msr.rst, MSR_KVM_SYSTEM_TIME_NEW and MSR_KVM_WALL_CLOCK_NEW.

use devices::Clock;
use memory::{Gpa, GuestMemory};
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};

use super::{MachineClock, TscRate};

/// In the MSR: the page is in use.
const ENABLED: u64 = 1;
/// All vCPUs' clocks agree, and never step back.
const STABLE: u8 = 1 << 0;
const NANOS: u64 = 1_000_000_000;

/// One moment in both of the guest's times; the same pair serves every vCPU, which is what makes
/// the stable bit true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) tsc: u64,
    /// Nanoseconds of the machine's clock.
    pub(crate) time: u64,
}

/// `((ticks << shift) * mul) >> 32` nanoseconds, shift right where negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) mul: u32,
    pub(super) shift: i8,
}

impl Scale {
    pub(super) fn new(rate: TscRate) -> Scale {
        let mut per_second = rate.khz.max(1) * 1000;
        let mut shift = 0;
        while per_second > 2 * NANOS {
            per_second >>= 1;
            shift -= 1;
        }
        while per_second <= NANOS {
            per_second <<= 1;
            shift += 1;
        }
        // `per_second` is now above 10^9, so the quotient fits into 32 bits.
        Scale {
            mul: ((NANOS << 32) / per_second) as u32,
            shift,
        }
    }
}

/// Writes one vCPU's time structure where its MSR says. Outside RAM nothing happens.
pub(crate) fn write_system_time(
    memory: &GuestMemory,
    msr: u64,
    reference: Reference,
    rate: TscRate,
) {
    if msr & ENABLED == 0 {
        return;
    }
    let at = Gpa(msr & !ENABLED);
    let scale = Scale::new(rate);
    let mut body = [0; 24];
    body[..8].copy_from_slice(&reference.tsc.to_le_bytes());
    body[8..16].copy_from_slice(&reference.time.to_le_bytes());
    body[16..20].copy_from_slice(&scale.mul.to_le_bytes());
    body[20..21].copy_from_slice(&scale.shift.to_le_bytes());
    body[21] = STABLE;
    publish(memory, at, 8, &body);
}

/// Writes the wall-clock time at which the machine's clock was zero.
pub(crate) fn write_wall_clock(memory: &GuestMemory, msr: u64, clock: &MachineClock) {
    let boot = clock.wall().saturating_sub(clock.now());
    let mut body = [0; 8];
    // Seconds since 1970 are 32 bits in this structure.
    body[..4].copy_from_slice(&((boot / NANOS) as u32).to_le_bytes());
    body[4..].copy_from_slice(&((boot % NANOS) as u32).to_le_bytes());
    publish(memory, Gpa(msr), 4, &body);
}

/// Writes `body` under the version protocol: odd while it changes, even when it may be read.
fn publish(memory: &GuestMemory, at: Gpa, body_offset: u64, body: &[u8]) {
    let ram = memory.ram();
    let version_at = GuestAddress(at.0);
    let Some(body_at) = at.checked_add(body_offset) else {
        return;
    };
    let before: u32 = ram.read_obj(version_at).unwrap_or(0);
    let odd = before.wrapping_add(1) | 1;
    let written = ram
        .write_obj(odd, version_at)
        .and_then(|()| ram.write_slice(body, GuestAddress(body_at.0)))
        .and_then(|()| ram.write_obj(odd.wrapping_add(1), version_at));
    // A guest that names an address without RAM has no clock, and that is its own affair.
    let _ = written;
}

#[cfg(test)]
mod tests;
