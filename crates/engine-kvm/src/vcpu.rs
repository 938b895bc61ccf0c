//! One vCPU of KVM. Spec: Linux Documentation/virt/kvm/api.rst, "KVM_RUN".

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{EngineError, Entry, Exit, Kick, Place, Vcpu, VcpuStats, Whereabouts};
use kvm_ioctls::VcpuFd;
use memory::{Gla, Gpa};
use vm_memory::{Bytes, GuestAddress};
use x86::cpuid::{CpuidTable, feature};
use x86::exception::vector;
use x86::{CpuState, Exception, msr};

use crate::exit::{self, Failure, Returned};
use crate::kick::KvmKick;
use crate::kvm_engine::Vm;
use crate::msrs::MsrList;
use crate::run_page_raw::{HYPERCALL_RESULT, MSR_DATA, MSR_ERROR, RunPage};
use crate::state::{self, Context};
use crate::transfer::Transfer;
use crate::{cpuid, host, machine_checks_raw, translate};

/// A guest that stood still this long is told so, lest its watchdogs bark.
const NOTABLE_PAUSE: Duration = Duration::from_secs(1);

/// What the machine still owes the exit it was given last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    Nothing,
    Transfer(Transfer),
    MsrRead,
    MsrWrite,
    Hypercall,
}

/// One vCPU.
#[derive(Debug)]
pub struct KvmVcpu {
    // Declared before `vm`: closed before the RAM can go.
    fd: VcpuFd,
    page: Arc<RunPage>,
    kick: Arc<KvmKick>,
    context: Context,
    owed: Owed,
    /// KVM_RUN must be entered once to finish the access it reported last.
    unfinished: bool,
    /// An exit that came up while an access was finished for `state`.
    next: Option<Exit>,
    stopped_at: Option<Instant>,
    exits: u64,
    whereabouts: Arc<Whereabouts>,
    vm: Arc<Vm>,
}

impl KvmVcpu {
    pub(crate) fn new(vm: Arc<Vm>, id: u32, wanted: &CpuidTable) -> Result<KvmVcpu, EngineError> {
        let fd = vm
            .fd
            .create_vcpu(u64::from(id))
            .map_err(host("cannot create a vCPU"))?;
        let table = cpuid::filter(&vm.kvm, wanted, &vm.supported);
        fd.set_cpuid2(&cpuid::to_kvm(&table)?)
            .map_err(host("KVM refuses the CPU model"))?;
        set_tsc_frequency(&fd, &table)?;
        machine_checks_raw::set_up(&fd, msr::MACHINE_CHECKS)
            .map_err(host("KVM refuses the machine checks"))?;
        let page = RunPage::map(&fd, vm.run_page_len).map_err(host("cannot map a vCPU's page"))?;
        let page = Arc::new(page);
        let context = Context {
            msrs: MsrList::of(&fd, &vm.msr_indices)?,
            supported: vm.supported.clone(),
            has_xsave: table.has(feature::XSAVE),
            reset_apic: state::current_apic(&fd)?,
        };
        Ok(KvmVcpu {
            fd,
            kick: Arc::new(KvmKick::new(Arc::clone(&page))),
            page,
            context,
            owed: Owed::Nothing,
            unfinished: false,
            next: None,
            stopped_at: None,
            exits: 0,
            whereabouts: Arc::default(),
            vm,
        })
    }

    /// Frequency of the guest's TSC.
    ///
    /// # Errors
    /// When the host does not tell.
    pub fn tsc_khz(&self) -> Result<u32, EngineError> {
        self.fd
            .get_tsc_khz()
            .map_err(host("cannot read the TSC's frequency"))
    }

    /// Gives the kernel what the machine answered.
    fn answer(&mut self, entry: Entry) -> Result<(), EngineError> {
        if matches!(entry, Entry::Inject(_)) {
            return Err(EngineError::Unsupported {
                what: "injecting interrupts beside KVM's own controllers",
            });
        }
        match (std::mem::replace(&mut self.owed, Owed::Nothing), entry) {
            (Owed::Nothing, Entry::Resume) | (Owed::MsrWrite, Entry::Resume) => {}
            (Owed::Transfer(mut transfer), Entry::CompleteRead(value))
                if transfer.wants_value() =>
            {
                transfer.complete(&self.page, value);
                self.owed = Owed::Transfer(transfer);
            }
            (Owed::Transfer(transfer), Entry::Resume) if !transfer.wants_value() => {
                self.owed = Owed::Transfer(transfer);
            }
            (Owed::MsrRead, Entry::CompleteRead(value)) => {
                self.page.write(MSR_DATA, &value.to_le_bytes());
            }
            (Owed::MsrRead | Owed::MsrWrite, Entry::Fault(fault)) if is_gp_0(fault) => {
                self.page.write(MSR_ERROR, &[1]);
            }
            (Owed::Hypercall, Entry::CompleteRead(value)) => {
                self.page.write(HYPERCALL_RESULT, &value.to_le_bytes());
            }
            (owed, _) => {
                self.owed = owed;
                return Err(EngineError::Unsupported {
                    what: "that answer to the vCPU's last exit",
                });
            }
        }
        Ok(())
    }

    /// The next piece of an access that has several.
    fn next_piece(&mut self) -> Option<Exit> {
        let Owed::Transfer(transfer) = &mut self.owed else {
            return None;
        };
        let exit = transfer.next(&self.page);
        if exit.is_none() {
            self.owed = Owed::Nothing;
        }
        exit
    }

    /// One KVM_RUN. `None` when a signal ended it.
    fn enter(&mut self) -> Result<Option<Returned>, EngineError> {
        self.kick.enter();
        let result = self.fd.run().map(|_| ());
        self.kick.leave();
        // Whatever came back, the access before it is finished.
        self.unfinished = false;
        match result {
            Ok(()) => {
                self.exits += 1;
                Ok(Some(exit::decode(&self.page)))
            }
            Err(error) if error.errno() == libc::EINTR => Ok(None),
            // A vCPU that waited for its SIPI woke.
            Err(error) if error.errno() == libc::EAGAIN => Ok(Some(Returned::Again)),
            Err(error) => Err(host("KVM_RUN failed")(error)),
        }
    }

    /// What the machine gets to see of a return; `None` for nothing.
    fn report(&mut self, returned: Returned) -> Option<Exit> {
        match returned {
            Returned::Again => None,
            Returned::Exit(exit) => {
                if matches!(exit, Exit::MsrWrite { .. }) {
                    self.owe(Owed::MsrWrite);
                }
                Some(exit)
            }
            Returned::Transfer(transfer) => {
                self.owe(Owed::Transfer(transfer));
                self.next_piece()
            }
            Returned::MsrRead(index) => {
                self.owe(Owed::MsrRead);
                Some(Exit::MsrRead { index })
            }
            Returned::Hypercall { number, args } => {
                self.owe(Owed::Hypercall);
                Some(Exit::Hypercall { number, args })
            }
            Returned::Failed(failure) => Some(Exit::Failed {
                what: self.describe(failure),
            }),
        }
    }

    fn owe(&mut self, owed: Owed) {
        self.owed = owed;
        self.unfinished = true;
    }

    fn describe(&self, failure: Failure) -> String {
        let mut instruction = match failure {
            Failure::Other(what) => return what,
            Failure::Emulation { instruction } => instruction,
        };
        let Ok(regs) = self.fd.get_regs() else {
            return "KVM could not emulate an instruction".to_owned();
        };
        if instruction.is_empty() {
            instruction = self.bytes_at(regs.rip);
        }
        format!(
            "KVM could not emulate the instruction at rip {:#x} (bytes {instruction:02x?}): \
             KVM_EXIT_INTERNAL_ERROR, suberror KVM_INTERNAL_ERROR_EMULATION",
            regs.rip
        )
    }

    /// The bytes at CS:`rip`, as far as they are mapped in one page.
    fn bytes_at(&self, rip: u64) -> Vec<u8> {
        let Ok(sregs) = self.fd.get_sregs() else {
            return Vec::new();
        };
        let linear = Gla(sregs.cs.base.wrapping_add(rip));
        let Some(gpa) = translate::translate(&self.vm.memory, &sregs, linear) else {
            return Vec::new();
        };
        let in_page = memory::PAGE_SIZE - gpa.0 % memory::PAGE_SIZE;
        let mut bytes = vec![0; usize::try_from(in_page.min(15)).unwrap_or(0)];
        match self
            .vm
            .memory
            .ram()
            .read_slice(&mut bytes, GuestAddress(gpa.0))
        {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }

    /// Lets KVM finish the access it reported last without running any guest code. With `discard`,
    /// parts of it that are still to come are dropped.
    fn finish_access(&mut self, discard: bool) -> Result<(), EngineError> {
        // An access has at most a handful of parts (two pages, 64 bytes); a bound, not a count.
        for _ in 0..64 {
            if !self.unfinished {
                break;
            }
            self.page.set_immediate_exit(true);
            let returned = self.enter();
            self.kick.rearm();
            let Some(returned) = returned? else { break };
            let exit = self.report(returned);
            if discard {
                self.owed = Owed::Nothing;
            } else if exit.is_some() {
                self.next = exit;
                break;
            }
        }
        Ok(())
    }

    fn note_stop(&mut self) -> Exit {
        self.stopped_at = Some(Instant::now());
        Exit::Interrupted
    }

    fn note_resume(&mut self) {
        let Some(stopped_at) = self.stopped_at.take() else {
            return;
        };
        if stopped_at.elapsed() > NOTABLE_PAUSE {
            // Fails for a guest that has no kvmclock, which then has nothing to be told by.
            let _ = self.fd.kvmclock_ctrl();
        }
    }
}

/// RDMSR and WRMSR can end in this fault alone.
fn is_gp_0(fault: Exception) -> bool {
    fault.vector == vector::GP && fault.error_code.unwrap_or(0) == 0
}

/// Makes the TSC run as CPUID tells the guest.
fn set_tsc_frequency(fd: &VcpuFd, table: &CpuidTable) -> Result<(), EngineError> {
    let told = table.find(0x4000_0010, 0).map_or(0, |entry| entry.eax);
    let Ok(real) = fd.get_tsc_khz() else {
        return Ok(());
    };
    // A thousandth: where nobody knows the host's frequency exactly, measurements differ by less.
    if told == 0 || told.abs_diff(real) <= real / 1000 {
        return Ok(());
    }
    fd.set_tsc_khz(told).map_err(|_| EngineError::Unsupported {
        what: "a guest TSC of another frequency than the host's",
    })
}

impl Vcpu for KvmVcpu {
    fn run(&mut self, entry: Entry) -> Result<Exit, EngineError> {
        self.note_resume();
        if let Some(exit) = self.next.take() {
            // Found while `state` finished the write before it, which `entry` answers.
            return Ok(exit);
        }
        self.answer(entry)?;
        if let Some(exit) = self.next_piece() {
            return Ok(exit);
        }
        self.whereabouts.set(Place::Guest);
        loop {
            match self.enter()? {
                None if self.kick.take() => return Ok(self.note_stop()),
                None => {}
                Some(returned) => {
                    if let Some(exit) = self.report(returned) {
                        return Ok(exit);
                    }
                }
            }
        }
    }

    /// Exact after [`Exit::Interrupted`]. After an exit that is not answered yet: as before the
    /// instruction for reads, as after it for writes.
    fn state(&mut self) -> Result<CpuState, EngineError> {
        if let Owed::Transfer(transfer) = self.owed
            && transfer.done >= transfer.len
            && self.next.is_none()
        {
            self.finish_access(false)?;
        }
        state::get(&self.fd, &self.context)
    }

    fn set_state(&mut self, state: &CpuState) -> Result<(), EngineError> {
        // Or KVM would complete the old instruction into the new registers.
        self.owed = Owed::Nothing;
        self.finish_access(true)?;
        self.next = None;
        state::set(&self.fd, &self.context, state)
    }

    /// Nothing to do: KVM's own controllers deliver.
    fn want_interrupt_window(&mut self, _wanted: bool) {}

    fn inject_nmi(&mut self) -> Result<(), EngineError> {
        self.fd.nmi().map_err(host("cannot send an NMI"))
    }

    fn kick(&self) -> Arc<dyn Kick> {
        Arc::clone(&self.kick) as Arc<dyn Kick>
    }

    fn translate(&mut self, address: Gla) -> Option<Gpa> {
        let sregs = self.fd.get_sregs().ok()?;
        translate::translate(&self.vm.memory, &sregs, address)
    }

    fn keeps_msr(&self, index: u32) -> bool {
        self.context.msrs.has(index)
    }

    fn stats(&self) -> VcpuStats {
        VcpuStats {
            exits: self.exits,
            ..VcpuStats::default()
        }
    }

    fn whereabouts(&self) -> Arc<Whereabouts> {
        Arc::clone(&self.whereabouts)
    }
}
