//! KVM_SET_XSAVE, which kvm-ioctls leaves to its caller to call rightly.

use kvm_bindings::kvm_xsave;
use kvm_ioctls::VcpuFd;

/// Loads x87, SSE and AVX registers.
pub(crate) fn set(fd: &VcpuFd, xsave: &kvm_xsave) -> Result<(), std::io::Error> {
    // SAFETY: the kernel reads more than the 4096 bytes of the structure only for a process that
    // asked for AMX state with arch_prctl, which nothing of ours does.
    unsafe { fd.set_xsave(xsave) }.map_err(Into::into)
}
