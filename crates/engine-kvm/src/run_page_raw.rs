//! The memory that a vCPU shares with the kernel: why KVM_RUN returned, and the data of an access.
//! Spec: Linux Documentation/virt/kvm/api.rst, "The kvm_run structure".
//!
//! A mapping of our own beside the one in kvm-ioctls, because a kick from another thread must reach
//! `immediate_exit` without a reference to the vCPU, and for as long as anybody holds the handle.

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use kvm_bindings::{
    kvm_run, kvm_run__bindgen_ty_1__bindgen_ty_2, kvm_run__bindgen_ty_1__bindgen_ty_4,
    kvm_run__bindgen_ty_1__bindgen_ty_5, kvm_run__bindgen_ty_1__bindgen_ty_6,
    kvm_run__bindgen_ty_1__bindgen_ty_8, kvm_run__bindgen_ty_1__bindgen_ty_13,
    kvm_run__bindgen_ty_1__bindgen_ty_19, kvm_run__bindgen_ty_1__bindgen_ty_21,
    kvm_run__bindgen_ty_1__bindgen_ty_23, kvm_run__bindgen_ty_1__bindgen_ty_27,
};

pub(crate) use kvm_bindings::{
    kvm_run__bindgen_ty_1__bindgen_ty_2 as FailEntry, kvm_run__bindgen_ty_1__bindgen_ty_4 as Io,
    kvm_run__bindgen_ty_1__bindgen_ty_5 as Debug, kvm_run__bindgen_ty_1__bindgen_ty_6 as Mmio,
    kvm_run__bindgen_ty_1__bindgen_ty_8 as Hypercall,
    kvm_run__bindgen_ty_1__bindgen_ty_13 as Internal,
    kvm_run__bindgen_ty_1__bindgen_ty_19 as SystemEvent,
    kvm_run__bindgen_ty_1__bindgen_ty_21 as Eoi, kvm_run__bindgen_ty_1__bindgen_ty_23 as Msr,
    kvm_run__bindgen_ty_1__bindgen_ty_27 as MemoryFault,
};

/// Offset of the part whose meaning depends on the exit reason.
const DETAIL: usize = offset_of!(kvm_run, __bindgen_anon_1);
/// Offset of an MMIO access's eight data bytes.
pub(crate) const MMIO_DATA: usize = DETAIL + offset_of!(Mmio, data);
/// Offset of an MSR access's value and of its error byte.
pub(crate) const MSR_DATA: usize = DETAIL + offset_of!(Msr, data);
pub(crate) const MSR_ERROR: usize = DETAIL + offset_of!(Msr, error);
/// Offset of a hypercall's result.
pub(crate) const HYPERCALL_RESULT: usize = DETAIL + offset_of!(Hypercall, ret);
/// Offset of the instruction's length and bytes after an emulation failure, and how many bytes.
const FAILED_INSTRUCTION: usize = DETAIL + 16;

/// A kernel structure of integers alone.
///
/// # Safety
/// Every bit pattern must be a value.
pub(crate) unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($kind:ty),*) => {
        $(
            // SAFETY: bindgen's mirror of a C structure that has integers and arrays of them.
            unsafe impl Plain for $kind {}
        )*
    };
}
plain!(
    u8,
    u32,
    kvm_run__bindgen_ty_1__bindgen_ty_2,
    kvm_run__bindgen_ty_1__bindgen_ty_4,
    kvm_run__bindgen_ty_1__bindgen_ty_5,
    kvm_run__bindgen_ty_1__bindgen_ty_6,
    kvm_run__bindgen_ty_1__bindgen_ty_8,
    kvm_run__bindgen_ty_1__bindgen_ty_13,
    kvm_run__bindgen_ty_1__bindgen_ty_19,
    kvm_run__bindgen_ty_1__bindgen_ty_21,
    kvm_run__bindgen_ty_1__bindgen_ty_23,
    kvm_run__bindgen_ty_1__bindgen_ty_27
);

#[derive(Debug)]
pub(crate) struct RunPage {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to no thread. All access is volatile or atomic; only the thread that
// runs the vCPU reads and writes more than `immediate_exit`.
unsafe impl Send for RunPage {}
// SAFETY: as above.
unsafe impl Sync for RunPage {}

impl RunPage {
    /// Maps the `len` bytes that KVM_GET_VCPU_MMAP_SIZE told.
    pub(crate) fn map(vcpu: &impl AsRawFd, len: usize) -> io::Result<RunPage> {
        if len < size_of::<kvm_run>() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing of ours.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                libc::MAP_SHARED,
                vcpu.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(RunPage { base, len })
    }

    pub(crate) fn set_immediate_exit(&self, on: bool) {
        let offset = offset_of!(kvm_run, immediate_exit);
        // SAFETY: inside the mapping (`map` checked its size), and a byte is always aligned. The
        // kernel only reads it.
        let byte = unsafe { AtomicU8::from_ptr(self.base.add(offset).as_ptr()) };
        byte.store(u8::from(on), Ordering::SeqCst);
    }

    pub(crate) fn exit_reason(&self) -> u32 {
        self.load(offset_of!(kvm_run, exit_reason))
            .unwrap_or(u32::MAX)
    }

    /// CR8 as the guest left it.
    pub(crate) fn cr8(&self) -> u8 {
        self.load(offset_of!(kvm_run, cr8)).unwrap_or(0)
    }

    /// The exit's own structure. The caller chooses the one that goes with the exit reason.
    pub(crate) fn detail<T: Plain>(&self) -> Option<T> {
        self.load(DETAIL)
    }

    /// The bytes of the instruction that could not be emulated; empty where KVM does not tell.
    pub(crate) fn failed_instruction(&self) -> Vec<u8> {
        let len: u8 = self.load(FAILED_INSTRUCTION).unwrap_or(0);
        let mut bytes = vec![0; usize::from(len.min(15))];
        self.read(FAILED_INSTRUCTION + 1, &mut bytes);
        bytes
    }

    fn load<T: Plain>(&self, offset: usize) -> Option<T> {
        let end = offset.checked_add(size_of::<T>())?;
        if end > self.len {
            return None;
        }
        // SAFETY: inside the mapping as just checked; `Plain` makes any bits a value.
        Some(unsafe { self.base.add(offset).cast::<T>().read_unaligned() })
    }

    /// Copies out of the page; what lies outside it is left as it is in `bytes`.
    pub(crate) fn read(&self, offset: usize, bytes: &mut [u8]) {
        if offset
            .checked_add(bytes.len())
            .is_some_and(|end| end <= self.len)
        {
            // SAFETY: inside the mapping as just checked; `bytes` is ours and cannot overlap it.
            unsafe {
                self.base
                    .add(offset)
                    .as_ptr()
                    .copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len());
            }
        }
    }

    /// Copies into the page; nothing where it would not fit.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        if offset
            .checked_add(bytes.len())
            .is_some_and(|end| end <= self.len)
        {
            // SAFETY: inside the mapping as just checked; the kernel reads it only in KVM_RUN,
            // which this thread is not in.
            unsafe {
                self.base
                    .add(offset)
                    .as_ptr()
                    .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            }
        }
    }
}

impl Drop for RunPage {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and nobody holds a reference into it.
        unsafe {
            libc::munmap(self.base.as_ptr().cast(), self.len);
        }
    }
}
