//! The vCPUs' threads: they live as long as the guest runs without a break.

use std::cell::Cell;
use std::thread;

use crate::choice::chain;
use crate::control::{MachineControl, Outcome};
use crate::stats::{Sampler, Times};
use crate::vcpu::VcpuRunner;

/// Runs every vCPU on a thread of its own until a request has stopped all of them.
pub(crate) fn run_all(
    vcpus: &mut [VcpuRunner],
    times: Option<&mut [Times]>,
    control: &MachineControl,
) {
    thread::scope(|scope| {
        let places = vcpus.iter().map(VcpuRunner::whereabouts).collect();
        let sampler = times.and_then(|times| Sampler::start(scope, places, times));
        let mut threads = Vec::new();
        for (id, vcpu) in vcpus.iter_mut().enumerate() {
            let guard = EndOnPanic(control.clone());
            let named = thread::Builder::new().name(format!("vcpu {id}"));
            let spawned = named.spawn_scoped(scope, move || {
                let guard = guard;
                run_one(vcpu, &guard.0);
            });
            match spawned {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    let what = format!("the host has no thread left for a processor: {error}");
                    control.end(Outcome::EngineFailed(what));
                    break;
                }
            }
        }
        for thread in threads {
            // A panic has been reported and has ended the run; it is not to go on in our caller.
            let _ = thread.join();
        }
        if let Some(sampler) = sampler {
            sampler.stop();
        }
    });
}

thread_local! {
    static IS_VCPU: Cell<bool> = const { Cell::new(false) };
}

/// Is this the thread of a vCPU?
pub(crate) fn is_vcpu() -> bool {
    IS_VCPU.get()
}

fn run_one(vcpu: &mut VcpuRunner, control: &MachineControl) {
    IS_VCPU.set(true);
    ::threads::begin(::threads::Work::Processor);
    if let Err(error) = vcpu.run() {
        control.end(Outcome::EngineFailed(chain(&error)));
    }
}

/// A thread that panics takes the run with it, so that the others do not go on without it.
struct EndOnPanic(MachineControl);

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            let what = "a processor's thread failed; this is a bug in Innkeeper".to_owned();
            self.0.end(Outcome::EngineFailed(what));
        }
    }
}
