//! Events on their way in. Spec: Linux Documentation/virt/kvm/api.rst, "KVM_GET_VCPU_EVENTS".

use engine::EngineError;
use kvm_bindings::{KVM_VCPUEVENT_VALID_NMI_PENDING, KVM_VCPUEVENT_VALID_SHADOW, kvm_vcpu_events};
use x86::exception::vector;
use x86::{Events, Injected};

/// KVM_X86_SHADOW_INT_STI: interrupts are held off because of STI.
const SHADOW_STI: u8 = 2;

/// Vectors below are exceptions unless an INT n raised them.
const FIRST_INTERRUPT: u8 = 32;

pub(super) fn from_kvm(events: &kvm_vcpu_events) -> Events {
    let exception = &events.exception;
    let interrupt = &events.interrupt;
    let injected = if exception.injected != 0 {
        Some(Injected {
            vector: exception.nr,
            error_code: (exception.has_error_code != 0).then_some(exception.error_code),
            software: matches!(exception.nr, vector::BP | vector::OF),
        })
    } else if interrupt.injected != 0 {
        Some(Injected {
            vector: interrupt.nr,
            error_code: None,
            software: interrupt.soft != 0,
        })
    } else if events.nmi.injected != 0 {
        Some(Injected {
            vector: vector::NMI,
            error_code: None,
            software: false,
        })
    } else {
        None
    };
    Events {
        interrupt_shadow: interrupt.shadow != 0,
        nmi_pending: events.nmi.pending != 0,
        nmi_masked: events.nmi.masked != 0,
        injected,
    }
}

pub(super) fn to_kvm(events: &Events) -> Result<kvm_vcpu_events, EngineError> {
    let mut kvm = kvm_vcpu_events {
        flags: KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
        ..kvm_vcpu_events::default()
    };
    kvm.interrupt.shadow = if events.interrupt_shadow {
        SHADOW_STI
    } else {
        0
    };
    kvm.nmi.pending = u8::from(events.nmi_pending);
    kvm.nmi.masked = u8::from(events.nmi_masked);
    let Some(Injected {
        vector,
        error_code,
        software,
    }) = events.injected
    else {
        return Ok(kvm);
    };
    let trap = matches!(vector, vector::BP | vector::OF);
    if vector == vector::NMI && !software {
        kvm.nmi.injected = 1;
    } else if vector >= FIRST_INTERRUPT || (software && !trap) {
        kvm.interrupt.injected = 1;
        kvm.interrupt.nr = vector;
        kvm.interrupt.soft = u8::from(software);
    } else {
        kvm.exception.injected = 1;
        kvm.exception.nr = vector;
        kvm.exception.has_error_code = u8::from(error_code.is_some());
        kvm.exception.error_code = error_code.unwrap_or(0);
    }
    Ok(kvm)
}

#[cfg(test)]
mod tests;
