//! Stand-ins for vCPUs and their TSC in tests of the interrupt controllers.

use std::sync::{Arc, Mutex};

use super::{Tsc, VcpuEvents};
use crate::ports::locked;

/// Remembers what happened, in words.
#[derive(Debug, Default)]
pub struct FakeEvents {
    seen: Mutex<Vec<String>>,
}

impl FakeEvents {
    #[must_use]
    pub fn new() -> Arc<FakeEvents> {
        Arc::new(FakeEvents::default())
    }

    /// What happened since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *locked(&self.seen))
    }

    fn saw(&self, what: String) {
        locked(&self.seen).push(what);
    }
}

impl VcpuEvents for FakeEvents {
    fn interrupt_pending(&self, cpu: u32) {
        self.saw(format!("interrupt {cpu}"));
    }

    fn nmi(&self, cpu: u32) {
        self.saw(format!("nmi {cpu}"));
    }

    fn smi(&self, cpu: u32) {
        self.saw(format!("smi {cpu}"));
    }

    fn init(&self, cpu: u32) {
        self.saw(format!("init {cpu}"));
    }

    fn startup(&self, cpu: u32, vector: u8) {
        self.saw(format!("startup {cpu} {vector:02x}"));
    }
}

/// A TSC of 2 GHz that was zero when the clock was.
#[derive(Debug)]
pub struct FakeTsc;

impl Tsc for FakeTsc {
    fn when(&self, _cpu: u32, value: u64) -> u64 {
        value.div_ceil(2)
    }
}
