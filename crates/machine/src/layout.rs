//! The guest-physical address map: where RAM lies, and what the holes are for.
//!
//! Below 3 GiB is RAM (with the PC's hole at 640 KiB), the rest of it starts at 4 GiB. Between the
//! two lie the 32-bit PCI window, ECAM and the interrupt controllers.

use memory::{Gpa, PAGE_SIZE, RamRange};
use serde::{Deserialize, Serialize};

pub const KIB: u64 = 1 << 10;
pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

/// Conventional memory ends here at the latest; the extended BIOS data area is its last KiB.
pub const EBDA: Gpa = Gpa(0x9_fc00);
/// The VGA window, without RAM behind it.
pub const VGA_HOLE: Gpa = Gpa(0xa_0000);
pub const VGA_HOLE_END: Gpa = Gpa(0xc_0000);
/// RAM that the memory map calls reserved: RSDP, ACPI tables, SMBIOS.
pub const BIOS_AREA: Gpa = Gpa(0xe_0000);
pub const SMBIOS_AREA: Gpa = Gpa(0xf_0000);
pub const BIOS_AREA_END: Gpa = Gpa(0x10_0000);

/// RAM below 4 GiB ends here at the latest.
pub const LOW_RAM_LIMIT: Gpa = Gpa(0xc000_0000);
pub const PCI_WINDOW: Gpa = Gpa(0xc000_0000);
pub const PCI_WINDOW_END: Gpa = Gpa(0xe000_0000);
/// On a board with firmware, which chooses addresses for BARs, the window goes on to the I/O APIC.
pub const PC_PCI_WINDOW_END: Gpa = Gpa(0xfec0_0000);
/// It begins where RAM ends, but no lower.
const PC_PCI_WINDOW: Gpa = Gpa(0x8000_0000);
/// Firmware wants 32 GiB for 64-bit BARs, at a multiple of that.
pub const PC_PCI_WINDOW_64_LEN: u64 = 128 * GIB;
pub const ECAM: Gpa = Gpa(0xe000_0000);
/// One MiB a bus, 256 buses.
pub const ECAM_LEN: u64 = 256 * MIB;
pub const IOAPIC: Gpa = Gpa(0xfec0_0000);
pub const IOAPIC_LEN: u64 = 0x1000;
pub const LAPIC: Gpa = Gpa(0xfee0_0000);
pub const LAPIC_LEN: u64 = 0x1000;
pub const HIGH_RAM: Gpa = Gpa(0x1_0000_0000);
/// The window for 64-bit BARs begins at the first multiple of this above RAM.
const PCI_WINDOW_64_ALIGN: u64 = 16 * GIB;
pub const PCI_WINDOW_64_LEN: u64 = 16 * GIB;

/// The smallest guest: one MiB, of which firmware tables take a part.
pub const MIN_MEMORY: u64 = MIB;
/// Enough for any host we know; keeps address arithmetic far from overflow.
pub const MAX_MEMORY: u64 = 16 << 40;

/// RAM ranges for `memory` bytes of guest memory (a multiple of the page size, checked by the caller).
#[must_use]
pub fn ram_ranges(memory: u64) -> Vec<RamRange> {
    let memory = memory & !(PAGE_SIZE - 1);
    let range = |from: Gpa, to: u64| RamRange {
        base: from,
        len: to - from.0,
    };
    let low_end = memory.min(LOW_RAM_LIMIT.0);
    let mut ranges = vec![
        range(Gpa(0), VGA_HOLE.0.min(low_end)),
        range(VGA_HOLE_END, low_end.max(BIOS_AREA_END.0)),
    ];
    if memory > low_end {
        ranges.push(range(HIGH_RAM, HIGH_RAM.0 + (memory - low_end)));
    }
    ranges
}

/// Memory that is plugged in begins at a multiple of this: Linux takes it in pieces of 128 MiB.
const PLUGGABLE_ALIGN: u64 = GIB;

/// Where up to `size` bytes more can be plugged into a guest that starts with `ranges`; `None` for none.
#[must_use]
pub fn pluggable_range(ranges: &[RamRange], size: u64) -> Option<RamRange> {
    let top = ranges.iter().map(|range| range.base.0 + range.len).max();
    let top = top.unwrap_or(0).max(HIGH_RAM.0);
    (size > 0).then(|| RamRange {
        base: Gpa(top.next_multiple_of(PLUGGABLE_ALIGN)),
        len: size.next_multiple_of(devices::virtio::hotplug_memory::BLOCK),
    })
}

/// One past the last byte of RAM below 4 GiB.
#[must_use]
pub fn low_ram_end(ranges: &[RamRange]) -> Gpa {
    let below = ranges.iter().filter(|range| range.base < HIGH_RAM);
    Gpa(below
        .map(|range| range.base.0 + range.len)
        .max()
        .unwrap_or(0))
}

/// First byte of the window for 32-bit BARs, on a board with firmware.
#[must_use]
pub fn pc_pci_window(ranges: &[RamRange]) -> Gpa {
    low_ram_end(ranges).max(PC_PCI_WINDOW)
}

/// First byte of the window for 64-bit BARs.
#[must_use]
pub fn pci_window_64(ranges: &[RamRange]) -> Gpa {
    let top = ranges.iter().map(|range| range.base.0 + range.len).max();
    let top = top.unwrap_or(0).max(HIGH_RAM.0);
    Gpa(top.next_multiple_of(PCI_WINDOW_64_ALIGN))
}

/// What a range of the memory map is. The numbers are E820's, and multiboot's and PVH's.
/// Spec: ACPI, "System Address Map Interfaces".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u32)]
pub enum MapKind {
    Usable = 1,
    Reserved = 2,
}

/// One line of the memory map that every boot protocol passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapEntry {
    pub base: Gpa,
    pub len: u64,
    pub kind: MapKind,
}

/// The memory map for a guest with this RAM, ascending.
#[must_use]
pub fn memory_map(ranges: &[RamRange]) -> Vec<MapEntry> {
    let entry = |from: Gpa, to: Gpa, kind| MapEntry {
        base: from,
        len: to.0 - from.0,
        kind,
    };
    let mut map = vec![
        entry(Gpa(0), EBDA, MapKind::Usable),
        entry(EBDA, VGA_HOLE, MapKind::Reserved),
        entry(BIOS_AREA, BIOS_AREA_END, MapKind::Reserved),
    ];
    let low_end = low_ram_end(ranges);
    if low_end > BIOS_AREA_END {
        map.push(entry(BIOS_AREA_END, low_end, MapKind::Usable));
    }
    map.push(entry(ECAM, Gpa(ECAM.0 + ECAM_LEN), MapKind::Reserved));
    map.extend(
        ranges
            .iter()
            .filter(|range| range.base >= HIGH_RAM)
            .map(|range| MapEntry {
                base: range.base,
                len: range.len,
                kind: MapKind::Usable,
            }),
    );
    map
}

#[cfg(test)]
mod tests;
