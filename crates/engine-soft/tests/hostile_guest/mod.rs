//! What tests of attacks share: running a vCPU that may refuse to stop.

use std::sync::mpsc;
use std::time::Duration;

use engine::{Entry, Exit, Vcpu};
use x86::cpuid::{self, CpuidTable, HostCpuid, VcpuParams};

/// The CPUID of the default model on this host.
pub(crate) fn table() -> CpuidTable {
    let model = cpuid::model(cpuid::DEFAULT_MODEL).expect("the default model");
    let params = VcpuParams {
        id: 0,
        count: 1,
        tsc_khz: 2_000_000,
    };
    cpuid::table(model, &HostCpuid::read(), &params)
}

/// Runs until the guest leaves by itself, or answers a kick.
#[allow(dead_code, reason = "not every test's guest may refuse to stop")]
pub(crate) fn run_and_kick(vcpu: &mut dyn Vcpu, entry: Entry) -> Exit {
    let kick = vcpu.kick();
    let (done, waiting) = mpsc::channel::<()>();
    let kicker = std::thread::spawn(move || {
        let mut left = 200;
        while waiting.recv_timeout(Duration::from_millis(50))
            == Err(mpsc::RecvTimeoutError::Timeout)
        {
            kick.kick();
            left -= 1;
            assert!(left > 0, "the vCPU does not answer its kick");
        }
    });
    let exit = vcpu.run(entry).expect("no host failure");
    drop(done);
    kicker.join().expect("answered in time");
    exit
}
