//! KVM_X86_SETUP_MCE, which kvm-ioctls does not have.
//! Spec: Linux Documentation/virt/kvm/api.rst, "KVM_X86_SETUP_MCE".

use kvm_bindings::KVMIO;
use kvm_ioctls::VcpuFd;
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;

ioctl_iow_nr!(KVM_X86_SETUP_MCE, KVMIO, 0x9c, u64);

/// Gives a fresh vCPU the machine checks that MCG_CAP tells of.
pub(crate) fn set_up(fd: &VcpuFd, capabilities: u64) -> Result<(), std::io::Error> {
    // SAFETY: the kernel reads eight bytes, and lets go of them before it returns.
    let done = unsafe { ioctl_with_ref(fd, KVM_X86_SETUP_MCE(), &capabilities) };
    if done < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
