//! Is KVM worth having here? Not asked of capabilities but measured.
//!
//! There are hosts where /dev/kvm opens and promises everything, and yet guest kernel code is
//! emulated by the host's kernel at about half a million instructions a second (seen where KVM runs
//! without hardware virtualization). A ring-0 loop tells in a few milliseconds.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use engine::{EngineError, Entry, Exit, Vcpu};
use kvm_ioctls::{Cap, Kvm};
use memory::{Gpa, GuestMemory, RamRange};
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};
use x86::cpuid::{self, HostCpuid, VcpuParams};
use x86::register::{cr0, cr4, efer, gpr, rflags};
use x86::{CpuState, Segment};

use crate::{KvmEngine, host};

/// Ring-0 instructions a second below which KVM is refused: our own translator is faster.
pub const WORTH_HAVING: f64 = 50e6;

/// How long the guest runs at most. Plenty for real hardware, bearable where it is emulated.
const RUN: Duration = Duration::from_millis(50);

/// What KVM on this host can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Ring-0 instructions a second in a 64-bit loop; 0 when the loop could not run.
    pub instructions_per_second: f64,
    /// Why the loop could not run.
    pub failure: Option<String>,
    /// Frequency of a guest's TSC; 0 when KVM does not tell.
    pub tsc_khz: u32,
    pub max_vcpus: usize,
    /// What KVM answers for capabilities that matter to us, by their names in its API; 0 is no.
    pub capabilities: BTreeMap<String, i32>,
}

impl Measurement {
    #[must_use]
    pub fn is_worth_having(&self) -> bool {
        self.instructions_per_second >= WORTH_HAVING
    }

    /// One sentence for people.
    #[must_use]
    pub fn verdict(&self) -> String {
        let millions = self.instructions_per_second / 1e6;
        if let Some(failure) = &self.failure {
            return format!("KVM is there but cannot run a simple loop: {failure}");
        }
        if self.is_worth_having() {
            return format!("KVM runs guest kernel code at {millions:.0} million instructions/s");
        }
        format!(
            "KVM is there but runs guest kernel code at only {millions:.1} million instructions/s, \
             because the host emulates it; below {:.0} million/s it is not used",
            WORTH_HAVING / 1e6
        )
    }
}

const CAPABILITIES: &[(Cap, &str)] = &[
    (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
    (Cap::Pit2, "KVM_CAP_PIT2"),
    (Cap::Irqfd, "KVM_CAP_IRQFD"),
    (Cap::Ioeventfd, "KVM_CAP_IOEVENTFD"),
    (Cap::SignalMsi, "KVM_CAP_SIGNAL_MSI"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    (Cap::SyncMmu, "KVM_CAP_SYNC_MMU"),
    (Cap::Xsave2, "KVM_CAP_XSAVE2"),
    (Cap::TscControl, "KVM_CAP_TSC_CONTROL"),
    (Cap::TscDeadlineTimer, "KVM_CAP_TSC_DEADLINE_TIMER"),
    (Cap::AdjustClock, "KVM_CAP_ADJUST_CLOCK"),
    (Cap::KvmclockCtrl, "KVM_CAP_KVMCLOCK_CTRL"),
    (Cap::X86UserSpaceMsr, "KVM_CAP_X86_USER_SPACE_MSR"),
    (Cap::X86Smm, "KVM_CAP_X86_SMM"),
    (Cap::DirtyLogRing, "KVM_CAP_DIRTY_LOG_RING"),
    (Cap::NestedState, "KVM_CAP_NESTED_STATE"),
];

const RAM: u64 = 0x10_0000;
const TABLES: u64 = 0x1000;
const CODE: u64 = 0x8000;

/// `dec rcx; jnz` and, should RCX ever run out, again.
const LOOP: [u8; 7] = [0x48, 0xff, 0xc9, 0x75, 0xfb, 0xeb, 0xf9];

/// Runs a ring-0 loop for at most a tenth of a second.
///
/// # Errors
/// When /dev/kvm cannot be opened or a guest not be made. A loop that does not run is no error.
pub fn measure() -> Result<Measurement, EngineError> {
    let kvm = Kvm::new().map_err(host("cannot open /dev/kvm"))?;
    let memory = GuestMemory::new(&[RamRange {
        base: Gpa(0),
        len: RAM,
    }])
    .map_err(|error| host("cannot make a guest's memory")(std::io::Error::other(error)))?;
    let engine = KvmEngine::new(memory.clone())?;
    let model = cpuid::models()[0];
    let params = VcpuParams {
        id: 0,
        count: 1,
        tsc_khz: 0,
    };
    let mut vcpu = engine.new_vcpu(0, &cpuid::table(&model, &HostCpuid::known(), &params))?;
    load(&memory)?;
    vcpu.set_state(&loop_state())?;
    let (failure, instructions_per_second) = time(&mut vcpu)?;
    let capability = |&(cap, name): &(Cap, &str)| (name.to_owned(), kvm.check_extension_int(cap));
    Ok(Measurement {
        instructions_per_second,
        failure,
        tsc_khz: vcpu.tsc_khz().unwrap_or(0),
        max_vcpus: kvm.get_max_vcpus(),
        capabilities: CAPABILITIES.iter().map(capability).collect(),
    })
}

/// The code, and tables that map the first GiB to itself.
fn load(memory: &GuestMemory) -> Result<(), EngineError> {
    let present_writable = 3;
    let large = 1 << 7;
    let entries = [
        (TABLES, (TABLES + 0x1000) | present_writable),
        (TABLES + 0x1000, (TABLES + 0x2000) | present_writable),
        (TABLES + 0x2000, large | present_writable),
    ];
    let failed = |error| host("cannot fill a guest's memory")(std::io::Error::other(error));
    for (at, entry) in entries {
        memory
            .ram()
            .write_obj::<u64>(entry, GuestAddress(at))
            .map_err(failed)?;
    }
    memory
        .ram()
        .write_slice(&LOOP, GuestAddress(CODE))
        .map_err(failed)
}

fn loop_state() -> CpuState {
    let flat = |rights: u16| Segment {
        selector: 0x10,
        limit: u32::MAX,
        rights: Segment::PRESENT | Segment::NOT_SYSTEM | Segment::GRANULAR | rights,
        ..Segment::default()
    };
    let data = flat(Segment::WRITABLE | Segment::ACCESSED | Segment::BIG);
    let mut state = CpuState::at_reset();
    state.segments = [data; 6];
    state.segments[1] = Segment {
        selector: 8,
        ..flat(Segment::CODE | Segment::READABLE | Segment::ACCESSED | Segment::LONG)
    };
    state.cr0 = cr0::PE | cr0::ET | cr0::PG;
    state.cr3 = TABLES;
    state.cr4 = cr4::PAE;
    state.efer = efer::LME | efer::LMA;
    state.rip = CODE;
    state.rflags = rflags::FIXED;
    state.gpr[gpr::RCX] = u64::MAX;
    state
}

/// Runs the loop until the timer's kick: what went wrong, if anything, and instructions a second.
fn time(vcpu: &mut dyn Vcpu) -> Result<(Option<String>, f64), EngineError> {
    let kick = vcpu.kick();
    let (done, stop) = mpsc::channel::<()>();
    let timer = thread::spawn(move || {
        if stop.recv_timeout(RUN).is_err() {
            kick.kick();
        }
    });
    let started = Instant::now();
    let exit = vcpu.run(Entry::Resume);
    let seconds = started.elapsed().as_secs_f64();
    // The timer may have gone already, and then hears nothing.
    let _ = done.send(());
    let _ = timer.join();
    match exit? {
        Exit::Interrupted => {
            let rounds = u64::MAX - vcpu.state()?.gpr[gpr::RCX];
            #[expect(clippy::cast_precision_loss, reason = "a speed needs three digits")]
            Ok((None, rounds as f64 * 2.0 / seconds))
        }
        Exit::Failed { what } => Ok((Some(what), 0.0)),
        other => Ok((Some(format!("it ended with {other:?}")), 0.0)),
    }
}

#[cfg(test)]
mod tests;
