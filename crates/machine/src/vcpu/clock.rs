//! kvmclock as one vCPU sees it: four MSRs, of which two pairs are the same under two numbers.

use std::collections::BTreeMap;
use std::sync::Mutex;

use engine::EngineError;
use x86::msr;

use super::VcpuRunner;
use crate::sync::lock;
use crate::time::{Reference, kvmclock};

/// What the guest wrote.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct ClockMsrs {
    system_time: u64,
    wall_clock: u64,
}

/// The moment from which all vCPUs' clocks count. One for all, so that they never disagree.
#[derive(Debug, Default)]
pub(crate) struct MasterClock(Mutex<Option<Reference>>);

impl MasterClock {
    /// The clock has stood still, or the machine was reset: find a new moment.
    pub(crate) fn forget(&self) {
        *lock(&self.0) = None;
    }
}

impl ClockMsrs {
    pub(super) fn read(&self, index: u32) -> Option<u64> {
        match index {
            msr::KVM_SYSTEM_TIME | msr::KVM_SYSTEM_TIME_OLD => Some(self.system_time),
            msr::KVM_WALL_CLOCK | msr::KVM_WALL_CLOCK_OLD => Some(self.wall_clock),
            _ => None,
        }
    }

    pub(super) fn save(&self, msrs: &mut BTreeMap<u32, u64>) {
        msrs.insert(msr::KVM_SYSTEM_TIME, self.system_time);
        msrs.insert(msr::KVM_WALL_CLOCK, self.wall_clock);
    }

    pub(super) fn take_from(&mut self, msrs: &mut BTreeMap<u32, u64>) {
        if let Some(value) = msrs.remove(&msr::KVM_SYSTEM_TIME) {
            self.system_time = value;
        }
        if let Some(value) = msrs.remove(&msr::KVM_WALL_CLOCK) {
            self.wall_clock = value;
        }
    }
}

impl VcpuRunner {
    /// Is it one of these MSRs? Then it has been written.
    pub(super) fn write_clock_msr(&mut self, index: u32, value: u64) -> Result<bool, EngineError> {
        match index {
            msr::KVM_SYSTEM_TIME | msr::KVM_SYSTEM_TIME_OLD => {
                self.clock_msrs.system_time = value;
                self.publish_clock()?;
            }
            msr::KVM_WALL_CLOCK | msr::KVM_WALL_CLOCK_OLD => {
                self.clock_msrs.wall_clock = value;
                kvmclock::write_wall_clock(&self.shared.memory, value, &self.shared.clock);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The clock may have stood still while the TSC ran on: everything that relates them is new.
    pub(super) fn follow_clock(&mut self) -> Result<(), EngineError> {
        let Some(irqchip) = self.shared.irqchip.clone() else {
            return Ok(());
        };
        let moment = self.moment()?;
        self.shared.tsc.note(self.id, moment);
        irqchip.apics().tsc_moved(self.id);
        self.publish_clock()
    }

    /// Writes this vCPU's time structure, if the guest has one.
    pub(super) fn publish_clock(&mut self) -> Result<(), EngineError> {
        let msr = self.clock_msrs.system_time;
        if self.shared.irqchip.is_none() || msr == 0 {
            return Ok(());
        }
        let reference = self.master_moment()?;
        kvmclock::write_system_time(&self.shared.memory, msr, reference, self.shared.tsc.rate());
        Ok(())
    }

    fn master_moment(&mut self) -> Result<Reference, EngineError> {
        let own = self.moment()?;
        let mut master = lock(&self.shared.master_clock.0);
        Ok(*master.get_or_insert(own))
    }
}
