//! What people may want to know of a machine; never for decisions.
//!
//! Where the time goes is sampled: a thread looks a thousand times a second at what each vCPU's
//! thread says of itself ([`engine::Whereabouts`]), so that the work itself is a store of one byte here
//! and there. Rejected: reading a clock at each change of place, of which there are millions a
//! second; and signals, whose handlers would interrupt translated code.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use engine::{Exit, Place, VcpuStats, Whereabouts};

/// Not a round number, lest samples always fall on the same moment of the guest's own ticks.
const PERIOD: Duration = Duration::from_micros(997);

#[derive(Debug, Clone)]
pub struct MachineStats {
    /// `kvm`, `translator` or `interpreter`.
    pub engine: &'static str,
    /// Why this engine, in a sentence.
    pub reason: String,
    pub vcpus: Vec<VcpuReport>,
}

#[derive(Debug, Clone)]
pub struct VcpuReport {
    pub engine: VcpuStats,
    /// By reason, those that there were.
    pub exits: Vec<(&'static str, u64)>,
    /// How long the vCPU's thread was where; empty where that was not asked for.
    pub times: Vec<(&'static str, Duration)>,
}

const REASONS: [&str; 15] = [
    "port read",
    "port write",
    "MMIO read",
    "MMIO write",
    "MSR read",
    "MSR write",
    "task priority read",
    "task priority write",
    "hypercall",
    "halt",
    "interrupt window",
    "end of interrupt",
    "kick",
    "debug",
    "end",
];

/// How often a vCPU left the guest, by reason.
#[derive(Debug, Default, Clone)]
pub(crate) struct ExitCounts([u64; REASONS.len()]);

impl ExitCounts {
    pub(crate) fn count(&mut self, exit: &Exit) {
        let reason = match exit {
            Exit::PortRead { .. } | Exit::PortReadString { .. } => 0,
            Exit::PortWrite { .. } | Exit::PortWriteString { .. } => 1,
            Exit::MmioRead { .. } => 2,
            Exit::MmioWrite { .. } => 3,
            Exit::MsrRead { .. } => 4,
            Exit::MsrWrite { .. } => 5,
            Exit::TprRead => 6,
            Exit::TprWrite { .. } => 7,
            Exit::Hypercall { .. } => 8,
            Exit::Halted => 9,
            Exit::InterruptWindow => 10,
            Exit::LevelEoi { .. } => 11,
            Exit::Interrupted => 12,
            Exit::Debug { .. } => 13,
            Exit::TripleFault | Exit::Failed { .. } => 14,
        };
        self.0[reason] += 1;
    }

    pub(crate) fn named(&self) -> Vec<(&'static str, u64)> {
        let all = REASONS.into_iter().zip(self.0);
        all.filter(|(_, count)| *count != 0).collect()
    }
}

/// How long a vCPU's thread was at each [`Place`], as far as samples tell.
#[derive(Debug, Default, Clone)]
pub(crate) struct Times([Duration; Place::ALL.len()]);

impl Times {
    pub(crate) fn named(&self) -> Vec<(&'static str, Duration)> {
        let all = Place::ALL.into_iter().zip(self.0);
        all.filter(|(_, time)| !time.is_zero())
            .map(|(place, time)| (place.name(), time))
            .collect()
    }
}

/// The thread that looks, from its start to [`Sampler::stop`].
pub(crate) struct Sampler<'scope> {
    thread: ScopedJoinHandle<'scope, ()>,
    end: Sender<()>,
}

impl<'scope> Sampler<'scope> {
    /// Adds to `times`, which go with `places`. `None` when the host has no thread left: then there
    /// is nothing to tell.
    pub(crate) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        places: Vec<Arc<Whereabouts>>,
        times: &'scope mut [Times],
    ) -> Option<Sampler<'scope>> {
        let (end, ended) = channel();
        let named = std::thread::Builder::new().name("statistics".to_owned());
        let begun = Instant::now();
        let thread = named.spawn_scoped(scope, move || {
            threads::begin(threads::Work::Device);
            sample(&places, times, begun, &ended);
        });
        Some(Sampler {
            thread: thread.ok()?,
            end,
        })
    }

    pub(crate) fn stop(self) {
        drop(self.end);
        // A panic there has been reported, and harms nobody.
        let _ = self.thread.join();
    }
}

fn sample(
    places: &[Arc<Whereabouts>],
    times: &mut [Times],
    mut before: Instant,
    ended: &Receiver<()>,
) {
    loop {
        let over = ended.recv_timeout(PERIOD) != Err(RecvTimeoutError::Timeout);
        let now = Instant::now();
        for (place, times) in places.iter().zip(times.iter_mut()) {
            times.0[place.get() as usize] += now - before;
        }
        if over {
            return;
        }
        before = now;
    }
}

#[cfg(test)]
mod tests;
