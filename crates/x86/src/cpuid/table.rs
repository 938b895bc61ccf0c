//! From a model and a host to the leaves of one vCPU. Spec: Intel SDM Vol. 2, "CPUID"; AMD APM Vol. 3,
//! "CPUID"; Linux Documentation/virt/kvm/x86/cpuid.rst for leaves 4000_00xxh.

use super::feature::{self as f, Feature, Needs};
use super::{CpuModel, CpuidEntry, CpuidTable, HostCpuid, Vendor, xsave_component};
use crate::register::xcr0;

/// Frequency of the local APIC's timer, which is also the crystal of leaf 15h: guests take the one
/// for the other. One tick a nanosecond, as in KVM, whose in-kernel APIC cannot be told otherwise.
pub const LAPIC_TIMER_HZ: u32 = 1_000_000_000;

/// What the table of one vCPU depends on beside model and host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VcpuParams {
    /// Which vCPU, from 0; also its APIC id.
    pub id: u32,
    /// How many vCPUs the guest has: one package, one thread a core.
    pub count: u32,
    /// Frequency of the guest's TSC.
    pub tsc_khz: u32,
}

const BRAND: &[u8] = b"Innkeeper Virtual CPU";

/// Family 6, model F0h, stepping 1: no Intel processor, see the model module.
const SIGNATURE_INTEL: u32 = 0x000f_0601;
/// Family 1Ah, model F0h, stepping 1: no AMD processor.
const SIGNATURE_AMD: u32 = 0x00bf_0f01;

/// Everything a vCPU of this model answers on this host.
#[must_use]
pub fn table(model: &CpuModel, host: &HostCpuid, params: &VcpuParams) -> CpuidTable {
    make(model, host.vendor(), &[], host, params)
}

/// The same for a model of this vendor with these features put in and taken out.
pub(super) fn make(
    model: &CpuModel,
    vendor: Vendor,
    changes: &[(Feature, bool)],
    host: &HostCpuid,
    params: &VcpuParams,
) -> CpuidTable {
    let amd = vendor == Vendor::Amd;
    let mut table = CpuidTable::default();
    basic_leaves(&mut table, amd, params);
    cache_leaves(&mut table, amd, params);
    topology_leaves(&mut table, params);
    xsave_leaves(&mut table, host);
    clock_leaves(&mut table, params);
    hypervisor_leaves(&mut table, params);
    extended_leaves(&mut table, amd, host, params);
    offer(&mut table, model, host, amd);
    for &(feature, add) in changes {
        if add {
            table.add(feature);
        } else {
            table.remove(feature);
        }
    }
    settle(&mut table);
    table
        .entries
        .sort_by_key(|entry| (entry.leaf, entry.subleaf));
    table
}

fn offer(table: &mut CpuidTable, model: &CpuModel, host: &HostCpuid, amd: bool) {
    // These two describe Intel's way of controlling speculation; AMD's are in leaf 8000_0021h.
    let intel_only = [f::SPEC_CTRL, f::ARCH_CAPABILITIES, f::BHI_CTRL];
    for &feature in model.features.iter().copied().flatten() {
        let possible = feature.needs == Needs::Engine || host.table.has(feature);
        if possible && !(amd && intel_only.contains(&feature)) {
            table.add(feature);
        }
    }
    if amd {
        f::amd::ALL.iter().for_each(|&feature| table.add(feature));
    }
}

/// Features that mean nothing without another.
const DEPENDENT: &[(Feature, Feature)] = &[
    (f::AVX, f::XSAVE),
    (f::XSAVEOPT, f::XSAVE),
    (f::PKU, f::XSAVE),
    (f::FMA, f::AVX),
    (f::F16C, f::AVX),
    (f::AVX2, f::AVX),
    (f::AVX_VNNI, f::AVX2),
    (f::VAES, f::AVX),
    (f::VPCLMULQDQ, f::AVX),
    (f::INVPCID, f::PCID),
    (f::FSRM, f::ERMS),
    (f::BHI_CTRL, f::SPEC_CTRL),
];

/// Makes the table consistent after features were chosen or removed.
pub(super) fn settle(table: &mut CpuidTable) {
    for &(feature, needed) in DEPENDENT {
        if !table.has(needed) {
            table.remove(feature);
        }
    }
    let mut components = 0;
    if table.has(f::XSAVE) {
        components |= xcr0::X87 | xcr0::SSE;
    }
    if table.has(f::AVX) {
        components |= xcr0::AVX;
    }
    if table.has(f::PKU) {
        components |= xcr0::PKRU;
    }
    table
        .entries
        .retain(|e| e.leaf != 0xd || e.subleaf < 2 || components & (1 << e.subleaf) != 0);
    let size = if components == 0 {
        0
    } else {
        table.xsave_size(components)
    };
    if let Some(entry) = table.find_mut(0xd, 0) {
        (entry.eax, entry.edx) = (low(components), high(components));
        // EBX is the size for XCR0 as it is at reset: x87 alone.
        (entry.ebx, entry.ecx) = (size.min(576), size);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
const fn low(value: u64) -> u32 {
    value as u32
}

const fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

fn push(table: &mut CpuidTable, leaf: u32, [eax, ebx, ecx, edx]: [u32; 4]) {
    table.entries.push(CpuidEntry {
        leaf,
        subleaf: 0,
        indexed: false,
        eax,
        ebx,
        ecx,
        edx,
    });
}

fn push_indexed(table: &mut CpuidTable, leaf: u32, subleaf: u32, [eax, ebx, ecx, edx]: [u32; 4]) {
    table.entries.push(CpuidEntry {
        leaf,
        subleaf,
        indexed: true,
        eax,
        ebx,
        ecx,
        edx,
    });
}

fn text(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    for (to, from) in word.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    u32::from_le_bytes(word)
}

/// Bits of the APIC id that number the cores of a package.
fn core_bits(count: u32) -> u32 {
    count.max(1).next_power_of_two().trailing_zeros()
}

fn basic_leaves(table: &mut CpuidTable, amd: bool, params: &VcpuParams) {
    let vendor: &[u8; 12] = if amd {
        b"AuthenticAMD"
    } else {
        b"GenuineIntel"
    };
    push(
        table,
        0,
        [0x1f, text(vendor, 0), text(vendor, 8), text(vendor, 4)],
    );
    let signature = if amd { SIGNATURE_AMD } else { SIGNATURE_INTEL };
    let cache_line_in_8_bytes = 8 << 8;
    // Ids beyond eight bits are told by leaf 0Bh alone.
    let apic_id = (params.id & 0xff) << 24;
    let cores = params.count.min(255) << 16;
    let several = if params.count > 1 { 1 << 28 } else { 0 };
    push(
        table,
        1,
        [
            signature,
            apic_id | cores | cache_line_in_8_bytes,
            0,
            several,
        ],
    );
    push(table, 5, [0; 4]);
    push(table, 6, [0; 4]);
    push_indexed(table, 7, 0, [2, 0, 0, 0]);
    push_indexed(table, 7, 1, [0; 4]);
    push_indexed(table, 7, 2, [0; 4]);
    // No performance counters: version 0.
    push(table, 0xa, [0; 4]);
}

/// One cache: type (1 data, 2 code, 3 both), level, ways, sets, and bits of the APIC id shared.
struct Cache(u32, u32, u32, u32, u32);

fn cache_leaves(table: &mut CpuidTable, amd: bool, params: &VcpuParams) {
    if amd {
        // Told by 8000_0005h and 8000_0006h instead.
        return;
    }
    // FFh: see leaf 4.
    push(table, 2, [0x00ff_ff01, 0, 0, 0]);
    let package = core_bits(params.count);
    let caches = [
        Cache(1, 1, 8, 64, 0),
        Cache(2, 1, 8, 64, 0),
        Cache(3, 2, 16, 1024, 0),
        Cache(3, 3, 16, 16384, package),
    ];
    let mut subleaf = 0;
    for Cache(kind, level, ways, sets, shared) in caches {
        let self_initialising = 1 << 8;
        let sharing = ((1 << shared.min(12)) - 1) << 14;
        let cores = ((1 << package.min(6)) - 1) << 26;
        let eax = kind | level << 5 | self_initialising | sharing | cores;
        let line_64_bytes = 63;
        push_indexed(
            table,
            4,
            subleaf,
            [eax, (ways - 1) << 22 | line_64_bytes, sets - 1, 0],
        );
        subleaf += 1;
    }
    push_indexed(table, 4, subleaf, [0; 4]);
}

/// Leaves 0Bh and 1Fh: one thread a core, all cores in one package.
fn topology_leaves(table: &mut CpuidTable, params: &VcpuParams) {
    const THREAD: u32 = 1 << 8;
    const CORE: u32 = 2 << 8;
    let VcpuParams { id, count, .. } = *params;
    for leaf in [0xb, 0x1f] {
        push_indexed(table, leaf, 0, [0, 1, THREAD, id]);
        push_indexed(
            table,
            leaf,
            1,
            [core_bits(count), count & 0xffff, CORE | 1, id],
        );
        push_indexed(table, leaf, 2, [0, 0, 2, id]);
    }
}

/// Leaf 0Dh. Components lie where the host's XSAVE puts them, because KVM and single instructions
/// run natively do it the host's way; where the host has none, where the first processors had them.
fn xsave_leaves(table: &mut CpuidTable, host: &HostCpuid) {
    push_indexed(table, 0xd, 0, [0; 4]);
    push_indexed(table, 0xd, 1, [0; 4]);
    for (component, otherwise) in [
        (xsave_component::AVX, (576, 256)),
        (xsave_component::PKRU, (832, 8)),
    ] {
        let (offset, size) = host.xsave_component(component).unwrap_or(otherwise);
        push_indexed(table, 0xd, component, [size, offset, 0, 0]);
    }
}

/// The fraction with a numerator below `limit` that comes nearest to `value / unit`.
///
/// Guests multiply crystal kHz by the numerator in 32 bits, so it must stay small.
fn ratio(value: u32, unit: u32, limit: u64) -> (u32, u32) {
    let (value, unit) = (u64::from(value), u64::from(unit));
    let mut best = (1, 1, u64::MAX);
    for denominator in 1..=1000u64 {
        let numerator = (value * denominator + unit / 2) / unit;
        if numerator == 0 || numerator >= limit {
            continue;
        }
        // In millionths of a unit, so that the simplest of equals is kept.
        let error = (numerator * unit).abs_diff(value * denominator) * 1_000_000 / denominator;
        if error < best.2 {
            best = (numerator, denominator, error);
        }
    }
    (low(best.0), low(best.1))
}

fn clock_leaves(table: &mut CpuidTable, params: &VcpuParams) {
    let crystal_khz = LAPIC_TIMER_HZ / 1000;
    let (numerator, denominator) = ratio(
        params.tsc_khz,
        crystal_khz,
        u64::from(u32::MAX / crystal_khz),
    );
    push(table, 0x15, [denominator, numerator, LAPIC_TIMER_HZ, 0]);
    let mhz = (params.tsc_khz / 1000).min(0xffff);
    push(table, 0x16, [mhz, mhz, 100, 0]);
}

fn hypervisor_leaves(table: &mut CpuidTable, params: &VcpuParams) {
    let signature = b"KVMKVMKVM\0\0\0";
    push(
        table,
        0x4000_0000,
        [
            0x4000_0010,
            text(signature, 0),
            text(signature, 4),
            text(signature, 8),
        ],
    );
    push(table, 0x4000_0001, [0; 4]);
    push(
        table,
        0x4000_0010,
        [params.tsc_khz, LAPIC_TIMER_HZ / 1000, 0, 0],
    );
}

fn extended_leaves(table: &mut CpuidTable, amd: bool, host: &HostCpuid, params: &VcpuParams) {
    let last = if amd { 0x8000_0021 } else { 0x8000_0008 };
    push(table, 0x8000_0000, [last, 0, 0, 0]);
    // AMD repeats the common features of leaf 1 here; guests read them from leaf 1.
    push(table, 0x8000_0001, [0; 4]);
    for part in 0..3u8 {
        let at = usize::from(part) * 16;
        let words = [0, 4, 8, 12].map(|word| text(BRAND, at + word));
        push(table, 0x8000_0002 + u32::from(part), words);
    }
    if amd {
        // 32 KiB of 8 ways and 64-byte lines, data and code.
        push(table, 0x8000_0005, [0, 0, 0x2008_0140, 0x2008_0140]);
    }
    // 1 MiB, 16 ways (code 8), 64-byte lines; on AMD also 16 MiB of level 3 in units of 512 KiB.
    let level_3 = if amd { 32 << 18 | 8 << 12 | 0x140 } else { 0 };
    push(table, 0x8000_0006, [0, 0, 0x0400_8140, level_3]);
    push(table, 0x8000_0007, [0; 4]);
    let linear_bits = 48;
    let cores = if amd {
        core_bits(params.count) << 12 | params.count.saturating_sub(1).min(255)
    } else {
        0
    };
    push(
        table,
        0x8000_0008,
        [linear_bits << 8 | host.physical_bits(), 0, cores, 0],
    );
    if amd {
        push(table, 0x8000_0021, [0; 4]);
    }
}
