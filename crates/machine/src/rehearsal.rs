//! What is found out about the host, and made, once in a process before its first guest runs.

use x86::cpuid::HostCpuid;

use crate::time::TscRate;

/// Does that for the guests of processes that are forked from this one.
pub fn rehearse() {
    let _ = (TscRate::host(), HostCpuid::known());
    engine_soft::rehearse();
}
