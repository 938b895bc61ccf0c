//! Suspend to RAM (S3): the machine sleeps, and firmware's part of waking it.
//!
//! Spec: ACPI, "S3 State" and "System \\_S3 State": processors, caches and chipset lose what they hold,
//! RAM is kept. "Firmware ACPI Control Structure": firmware enters the guest in real mode where the
//! waking vector says.
//!
//! Asleep is what the power management block says it is (its saved state says so too), so a machine
//! that is stopped, saved and restored in its sleep sleeps on.

use devices::Device;
use x86::register::cr0;
use x86::{CpuState, Segment, SegmentRegister};

use crate::MachineError;
use crate::firmware;
use crate::machine::Machine;
use crate::sync::lock;

impl Machine {
    /// Sleeps until something wakes the guest, or there is something else to do.
    pub(crate) fn sleep(&self) {
        self.board.doze();
        self.shared.control.wait_while_asleep();
        self.board.quiesce();
    }

    /// Wakes up. A guest that left no waking vector finds itself at power-on.
    pub(crate) fn wake(&mut self) -> Result<(), MachineError> {
        let Some(vector) = firmware::waking_vector(&self.shared.memory) else {
            return self.power_on();
        };
        let kept = lock(&self.peripherals.power).save();
        self.reset_devices()?;
        {
            let mut power = lock(&self.peripherals.power);
            power.restore(&kept)?;
            power.woken();
        }
        if let Some(tpm) = &self.peripherals.tpm {
            lock(tpm).wake();
        }
        self.start_processors(&awake_at(vector))?;
        self.shared.control.woken();
        Ok(())
    }
}

/// Real mode at a physical address below 1 MiB, with the segment as high as it can be: guests derive
/// the address of their wake-up code from it.
fn awake_at(vector: u32) -> CpuState {
    let mut state = CpuState::at_reset();
    let code = &mut state.segments[SegmentRegister::Cs as usize];
    // The vector has 20 bits.
    *code = Segment {
        rights: code.rights,
        ..Segment::real((vector >> 4) as u16)
    };
    state.rip = u64::from(vector & 0xf);
    state.cr0 = cr0::ET;
    state
}

#[cfg(test)]
mod tests;
