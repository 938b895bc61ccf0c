//! What KVM_RUN came back with: something for the machine, something to go on after, or words for
//! people. Every reason of the API has its place here.
//! Spec: Linux Documentation/virt/kvm/api.rst, "The kvm_run structure".

use engine::Exit;
use kvm_bindings as kb;
use memory::Gpa;

use crate::run_page_raw::{
    Debug, Eoi, FailEntry, Hypercall, Internal, Io, MMIO_DATA, MemoryFault, Mmio, Msr, RunPage,
    SystemEvent,
};
use crate::transfer::{Target, Transfer};

/// One return of KVM_RUN.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Returned {
    /// A port or MMIO access, perhaps in several pieces.
    Transfer(Transfer),
    MsrRead(u32),
    Exit(Exit),
    Hypercall {
        number: u64,
        args: [u64; 4],
    },
    /// Nothing for us to do: enter again.
    Again,
    /// The guest cannot go on.
    Failed(Failure),
}

/// Why a guest cannot go on, before it is put in words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// KVM could not emulate an instruction; its bytes where KVM tells them.
    Emulation {
        instruction: Vec<u8>,
    },
    Other(String),
}

/// Reads why the vCPU came back.
pub(crate) fn decode(page: &RunPage) -> Returned {
    let reason = page.exit_reason();
    decode_known(page, reason).unwrap_or_else(|| other(reason))
}

/// `None` for reasons that have no detail and are in [`other`].
fn decode_known(page: &RunPage, reason: u32) -> Option<Returned> {
    Some(match reason {
        kb::KVM_EXIT_IO => io(page.detail()?),
        kb::KVM_EXIT_MMIO => mmio(page.detail()?),
        kb::KVM_EXIT_X86_RDMSR => Returned::MsrRead(page.detail::<Msr>()?.index),
        kb::KVM_EXIT_X86_WRMSR => {
            let Msr { index, data, .. } = page.detail()?;
            Returned::Exit(Exit::MsrWrite { index, value: data })
        }
        kb::KVM_EXIT_HYPERCALL => {
            let Hypercall {
                nr,
                args: [a, b, c, d, ..],
                ..
            } = page.detail()?;
            Returned::Hypercall {
                number: nr,
                args: [a, b, c, d],
            }
        }
        kb::KVM_EXIT_DEBUG => {
            let Debug { arch } = page.detail()?;
            Returned::Exit(Exit::Debug {
                rip: arch.pc,
                dr6: arch.dr6,
            })
        }
        kb::KVM_EXIT_IOAPIC_EOI => Returned::Exit(Exit::LevelEoi {
            vector: page.detail::<Eoi>()?.vector,
        }),
        kb::KVM_EXIT_SET_TPR => Returned::Exit(Exit::TprWrite { value: page.cr8() }),
        kb::KVM_EXIT_INTERNAL_ERROR => Returned::Failed(internal(page, page.detail()?)),
        kb::KVM_EXIT_FAIL_ENTRY => {
            let FailEntry {
                hardware_entry_failure_reason,
                cpu,
            } = page.detail()?;
            failed(format!(
                "the processor refused to enter the guest: reason {hardware_entry_failure_reason:#x} \
                 on host CPU {cpu}"
            ))
        }
        kb::KVM_EXIT_MEMORY_FAULT => {
            let MemoryFault { flags, gpa, size } = page.detail()?;
            failed(format!(
                "KVM_EXIT_MEMORY_FAULT: no memory for {size} bytes at {gpa:#x}, flags {flags:#x}"
            ))
        }
        kb::KVM_EXIT_SYSTEM_EVENT => {
            let SystemEvent { type_, .. } = page.detail()?;
            failed(format!(
                "KVM_EXIT_SYSTEM_EVENT of type {type_}, which an x86 guest cannot raise"
            ))
        }
        _ => return None,
    })
}

fn other(reason: u32) -> Returned {
    match reason {
        kb::KVM_EXIT_HLT => Returned::Exit(Exit::Halted),
        kb::KVM_EXIT_IRQ_WINDOW_OPEN => Returned::Exit(Exit::InterruptWindow),
        kb::KVM_EXIT_SHUTDOWN => Returned::Exit(Exit::TripleFault),
        // A signal, an NMI of the host's, a bus lock of the guest's, a report of a TPR access: all
        // are dealt with when KVM comes back to us.
        kb::KVM_EXIT_INTR
        | kb::KVM_EXIT_NMI
        | kb::KVM_EXIT_X86_BUS_LOCK
        | kb::KVM_EXIT_TPR_ACCESS => Returned::Again,
        _ => failed(format!("KVM returned with {}", name(reason))),
    }
}

fn failed(what: String) -> Returned {
    Returned::Failed(Failure::Other(what))
}

fn io(
    Io {
        direction,
        size,
        port,
        count,
        data_offset,
    }: Io,
) -> Returned {
    let elements = usize::try_from(count).unwrap_or(0);
    Returned::Transfer(Transfer {
        target: Target::Port(port),
        write: u32::from(direction) == kb::KVM_EXIT_IO_OUT,
        offset: usize::try_from(data_offset).unwrap_or(usize::MAX),
        len: elements * usize::from(size),
        element: size,
        done: 0,
    })
}

fn mmio(
    Mmio {
        phys_addr,
        len,
        is_write,
        ..
    }: Mmio,
) -> Returned {
    Returned::Transfer(Transfer {
        target: Target::Mmio(Gpa(phys_addr)),
        write: is_write != 0,
        offset: MMIO_DATA,
        len: usize::try_from(len).unwrap_or(0).min(8),
        element: 8,
        done: 0,
    })
}

fn internal(page: &RunPage, internal: Internal) -> Failure {
    let Internal {
        suberror,
        ndata,
        data,
    } = internal;
    if suberror == kb::KVM_INTERNAL_ERROR_EMULATION {
        let told = u64::from(kb::KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES);
        let instruction = if ndata >= 3 && data[0] & told != 0 {
            page.failed_instruction()
        } else {
            Vec::new()
        };
        return Failure::Emulation { instruction };
    }
    let kind = match suberror {
        kb::KVM_INTERNAL_ERROR_SIMUL_EX => "two exceptions at once that it cannot order",
        kb::KVM_INTERNAL_ERROR_DELIVERY_EV => "an exit while it delivered an event",
        kb::KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON => "an exit of the hardware it does not know",
        _ => "a suberror we do not know",
    };
    let count = usize::try_from(ndata).unwrap_or(0).min(data.len());
    Failure::Other(format!(
        "KVM_EXIT_INTERNAL_ERROR: {kind} (suberror {suberror}, data {:x?})",
        &data[..count]
    ))
}

/// The API's name for a reason that no x86 guest of ours should meet.
fn name(reason: u32) -> String {
    let name = match reason {
        kb::KVM_EXIT_UNKNOWN => "KVM_EXIT_UNKNOWN",
        kb::KVM_EXIT_EXCEPTION => "KVM_EXIT_EXCEPTION",
        kb::KVM_EXIT_S390_SIEIC => "KVM_EXIT_S390_SIEIC",
        kb::KVM_EXIT_S390_RESET => "KVM_EXIT_S390_RESET",
        kb::KVM_EXIT_DCR => "KVM_EXIT_DCR",
        kb::KVM_EXIT_OSI => "KVM_EXIT_OSI",
        kb::KVM_EXIT_PAPR_HCALL => "KVM_EXIT_PAPR_HCALL",
        kb::KVM_EXIT_S390_UCONTROL => "KVM_EXIT_S390_UCONTROL",
        kb::KVM_EXIT_WATCHDOG => "KVM_EXIT_WATCHDOG",
        kb::KVM_EXIT_S390_TSCH => "KVM_EXIT_S390_TSCH",
        kb::KVM_EXIT_EPR => "KVM_EXIT_EPR",
        kb::KVM_EXIT_S390_STSI => "KVM_EXIT_S390_STSI",
        kb::KVM_EXIT_HYPERV => "KVM_EXIT_HYPERV",
        kb::KVM_EXIT_ARM_NISV => "KVM_EXIT_ARM_NISV",
        kb::KVM_EXIT_DIRTY_RING_FULL => "KVM_EXIT_DIRTY_RING_FULL",
        kb::KVM_EXIT_AP_RESET_HOLD => "KVM_EXIT_AP_RESET_HOLD",
        kb::KVM_EXIT_XEN => "KVM_EXIT_XEN",
        kb::KVM_EXIT_RISCV_SBI => "KVM_EXIT_RISCV_SBI",
        kb::KVM_EXIT_RISCV_CSR => "KVM_EXIT_RISCV_CSR",
        kb::KVM_EXIT_NOTIFY => "KVM_EXIT_NOTIFY",
        kb::KVM_EXIT_LOONGARCH_IOCSR => "KVM_EXIT_LOONGARCH_IOCSR",
        _ => return format!("exit reason {reason}, which this version does not know"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests;
