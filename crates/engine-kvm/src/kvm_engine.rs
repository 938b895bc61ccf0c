//! One virtual machine of KVM. Spec: Linux Documentation/virt/kvm/api.rst.

use std::sync::Arc;

use engine::{Engine, EngineError, InterruptModel, MsiMessage, Vcpu};
use kvm_bindings::{
    KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER, KVM_MSR_EXIT_REASON_UNKNOWN,
    KVM_PIT_SPEAKER_DUMMY, kvm_enable_cap, kvm_msi, kvm_pit_config,
};
use kvm_ioctls::{Cap, Kvm, VmFd};
use memory::{Gpa, GuestMemory};
use x86::cpuid::CpuidTable;

use crate::device_slots_raw::DeviceSlots;
use crate::routing::Routing;
use crate::slots_raw::Slots;
use crate::vcpu::KvmVcpu;
use crate::{cpuid, devices, host};

/// Four pages of guest-physical addresses that KVM keeps for itself on Intel hosts, where real mode
/// runs with page tables (one page) and a task state segment (three). Below the last 16 MiB, so
/// that the largest firmware fits above. No RAM and no device may lie there.
pub const RESERVED_BASE: Gpa = Gpa(0xfeff_c000);
pub const RESERVED_LEN: u64 = 0x4000;

/// What all vCPUs of a guest share. A vCPU holds it too: the kernel keeps a VM alive while any vCPU
/// of it is open, so the RAM must stay mapped as long.
#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) kvm: Kvm,
    pub(crate) fd: VmFd,
    pub(crate) memory: GuestMemory,
    pub(crate) supported: CpuidTable,
    pub(crate) msr_indices: Vec<u32>,
    pub(crate) run_page_len: usize,
    slots: Slots,
}

/// A guest on KVM.
#[derive(Debug)]
pub struct KvmEngine {
    vm: Arc<Vm>,
    pub(crate) routing: Routing,
}

/// Without these there is nothing to run on; all are older than Linux 4.12.
const REQUIRED: &[(Cap, &str)] = &[
    (Cap::Irqchip, "KVM without in-kernel interrupt controllers"),
    (Cap::Pit2, "KVM without an in-kernel PIT"),
    (Cap::UserMemory, "KVM without user memory regions"),
    (Cap::ImmediateExit, "KVM without immediate_exit"),
    (Cap::VcpuEvents, "KVM without KVM_GET_VCPU_EVENTS"),
    (Cap::Xsave, "KVM without KVM_GET_XSAVE"),
    (Cap::IrqRouting, "KVM without interrupt routing"),
    (Cap::SignalMsi, "KVM without KVM_SIGNAL_MSI"),
];

impl KvmEngine {
    /// Opens /dev/kvm and makes a virtual machine around `memory`.
    ///
    /// # Errors
    /// When /dev/kvm cannot be opened or lacks something, or RAM covers [`RESERVED_BASE`].
    pub fn new(memory: GuestMemory) -> Result<KvmEngine, EngineError> {
        let kvm = Kvm::new().map_err(host("cannot open /dev/kvm"))?;
        if kvm.get_api_version() != 12 {
            return Err(EngineError::Unsupported {
                what: "a KVM of another API version than 12",
            });
        }
        for &(cap, what) in REQUIRED {
            if !kvm.check_extension(cap) {
                return Err(EngineError::Unsupported { what });
            }
        }
        check_reserved(&memory)?;
        let fd = kvm
            .create_vm()
            .map_err(host("cannot create a virtual machine"))?;
        let slots = Slots::default();
        slots.map(&fd, &memory, Some(false))?;
        make_platform(&kvm, &fd)?;
        let supported = cpuid::supported(&kvm)?;
        let msr_indices = kvm
            .get_msr_index_list()
            .map_err(host("cannot list the MSRs of KVM"))?
            .as_slice()
            .to_vec();
        let run_page_len = kvm
            .get_vcpu_mmap_size()
            .map_err(host("cannot size a vCPU"))?;
        let vm = Vm {
            kvm,
            fd,
            memory,
            supported,
            msr_indices,
            run_page_len,
            slots,
        };
        let engine = KvmEngine {
            vm: Arc::new(vm),
            routing: Routing::default(),
        };
        engine.routing.install(&engine.vm.fd)?;
        let slots = Arc::new(DeviceSlots::new(&engine.vm));
        engine.vm.memory.device_memories().listen(slots);
        Ok(engine)
    }

    /// As [`Engine::create_vcpu`], but of this crate's own type.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn new_vcpu(&self, id: u32, cpuid: &CpuidTable) -> Result<KvmVcpu, EngineError> {
        KvmVcpu::new(Arc::clone(&self.vm), id, cpuid)
    }

    pub(crate) fn fd(&self) -> &VmFd {
        &self.vm.fd
    }
}

fn check_reserved(memory: &GuestMemory) -> Result<(), EngineError> {
    let end = RESERVED_BASE.0 + RESERVED_LEN;
    let covered = memory.mapped_ranges().iter().any(|range| {
        range.base.0 < end && range.base.0.saturating_add(range.len) > RESERVED_BASE.0
    });
    if covered {
        return Err(EngineError::Unsupported {
            what: "RAM at feffc000h, which KVM needs,",
        });
    }
    Ok(())
}

/// Everything of the machine that the kernel plays.
fn make_platform(kvm: &Kvm, fd: &VmFd) -> Result<(), EngineError> {
    // One page for the identity map, three for the task state segment.
    fd.set_identity_map_address(RESERVED_BASE.0)
        .map_err(host("cannot place the identity map"))?;
    let tss = usize::try_from(RESERVED_BASE.0 + 0x1000).unwrap_or(usize::MAX);
    fd.set_tss_address(tss)
        .map_err(host("cannot place the task state segment"))?;
    fd.create_irq_chip()
        .map_err(host("cannot create the interrupt controllers"))?;
    let pit = kvm_pit_config {
        flags: KVM_PIT_SPEAKER_DUMMY,
        ..kvm_pit_config::default()
    };
    fd.create_pit2(pit).map_err(host("cannot create the PIT"))?;
    if kvm.check_extension(Cap::X86UserSpaceMsr) {
        let reasons = KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER;
        let cap = kvm_enable_cap {
            cap: KVM_CAP_X86_USER_SPACE_MSR,
            args: [u64::from(reasons), 0, 0, 0],
            ..kvm_enable_cap::default()
        };
        fd.enable_cap(&cap)
            .map_err(host("cannot have MSR accesses reported"))?;
    }
    Ok(())
}

impl Engine for KvmEngine {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn interrupt_model(&self) -> InterruptModel {
        InterruptModel::InKernel
    }

    fn create_vcpu(&self, id: u32, cpuid: &CpuidTable) -> Result<Box<dyn Vcpu>, EngineError> {
        Ok(Box::new(self.new_vcpu(id, cpuid)?))
    }

    fn set_gsi(&self, gsi: u32, level: bool) -> Result<(), EngineError> {
        self.vm
            .fd
            .set_irq_line(gsi, level)
            .map_err(host("cannot set an interrupt line"))
    }

    fn send_msi(&self, message: MsiMessage) -> Result<(), EngineError> {
        let [low, high] = crate::routing::halves(message.address);
        let msi = kvm_msi {
            address_lo: low,
            address_hi: high,
            data: message.data,
            ..kvm_msi::default()
        };
        // Zero says that the guest has the vector blocked: its affair.
        self.vm
            .fd
            .signal_msi(msi)
            .map_err(host("cannot send an MSI"))?;
        Ok(())
    }

    fn memory_changed(&self) -> Result<(), EngineError> {
        self.vm.slots.map(&self.vm.fd, &self.vm.memory, None)
    }

    fn bears_untold_writes(&self) -> bool {
        true
    }

    fn set_dirty_log(&self, on: bool) -> Result<(), EngineError> {
        self.vm.slots.map(&self.vm.fd, &self.vm.memory, Some(on))
    }

    fn sync_dirty_log(&self) -> Result<(), EngineError> {
        self.vm.slots.sync_dirty(&self.vm.fd, &self.vm.memory)
    }

    fn save_devices(&self) -> Result<Vec<u8>, EngineError> {
        devices::save(&self.vm.fd)
    }

    fn restore_devices(&self, state: &[u8]) -> Result<(), EngineError> {
        devices::restore(&self.vm.fd, state)
    }
}

#[cfg(test)]
mod tests;
