//! Segments and control registers.

use kvm_bindings::{kvm_dtable, kvm_segment, kvm_sregs};
use x86::{CpuState, DescriptorTable, Segment};

fn segment(from: &kvm_segment) -> Segment {
    let bit = |value: u8, bit: u16| if value != 0 { bit } else { 0 };
    let rights = u16::from(from.type_ & 0xf)
        | bit(from.s, Segment::NOT_SYSTEM)
        | u16::from(from.dpl & 3) << 5
        | bit(from.present, Segment::PRESENT)
        | bit(from.avl, AVAILABLE)
        | bit(from.l, Segment::LONG)
        | bit(from.db, Segment::BIG)
        | bit(from.g, Segment::GRANULAR);
    Segment {
        selector: from.selector,
        base: from.base,
        limit: from.limit,
        rights,
        unusable: from.unusable != 0,
    }
}

/// Descriptor bit 52, for software to use.
const AVAILABLE: u16 = 1 << 12;

fn to_kvm(from: &Segment) -> kvm_segment {
    let bit = |bit: u16| u8::from(from.has(bit));
    kvm_segment {
        base: from.base,
        limit: from.limit,
        selector: from.selector,
        type_: from.kind(),
        present: bit(Segment::PRESENT),
        dpl: from.dpl(),
        db: bit(Segment::BIG),
        s: bit(Segment::NOT_SYSTEM),
        l: bit(Segment::LONG),
        g: bit(Segment::GRANULAR),
        avl: bit(AVAILABLE),
        unusable: u8::from(from.unusable),
        padding: 0,
    }
}

fn table(from: &kvm_dtable) -> DescriptorTable {
    DescriptorTable {
        base: from.base,
        limit: from.limit,
    }
}

fn table_to_kvm(from: DescriptorTable) -> kvm_dtable {
    kvm_dtable {
        base: from.base,
        limit: from.limit,
        ..kvm_dtable::default()
    }
}

pub(super) fn take_sregs(state: &mut CpuState, sregs: &kvm_sregs) {
    let order = [
        &sregs.es, &sregs.cs, &sregs.ss, &sregs.ds, &sregs.fs, &sregs.gs,
    ];
    state.segments = order.map(segment);
    state.ldtr = segment(&sregs.ldt);
    state.tr = segment(&sregs.tr);
    state.gdtr = table(&sregs.gdt);
    state.idtr = table(&sregs.idt);
    state.cr0 = sregs.cr0;
    state.cr2 = sregs.cr2;
    state.cr3 = sregs.cr3;
    state.cr4 = sregs.cr4;
    state.cr8 = sregs.cr8;
    state.efer = sregs.efer;
}

/// All but `apic_base`.
pub(super) fn sregs(state: &CpuState) -> kvm_sregs {
    let [es, cs, ss, ds, fs, gs] = state.segments.map(|segment| to_kvm(&segment));
    kvm_sregs {
        cs,
        ds,
        es,
        fs,
        gs,
        ss,
        tr: to_kvm(&state.tr),
        ldt: to_kvm(&state.ldtr),
        gdt: table_to_kvm(state.gdtr),
        idt: table_to_kvm(state.idtr),
        cr0: state.cr0,
        cr2: state.cr2,
        cr3: state.cr3,
        cr4: state.cr4,
        cr8: state.cr8,
        efer: state.efer,
        ..kvm_sregs::default()
    }
}

#[cfg(test)]
mod tests;
