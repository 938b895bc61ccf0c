//! SMBIOS: who made the machine, for dmidecode and for udev. Spec: DMTF DSP0134 3.6.

use memory::Gpa;

use super::checksum;
use crate::layout::{BIOS_AREA_END, HIGH_RAM, KIB, MIB, SMBIOS_AREA};

const ENTRY_LEN: usize = 24;
/// Of the entry point that systems know which are older than SMBIOS 3.
const OLD_ENTRY_LEN: usize = 31;
const MAKER: &str = "Innkeeper";

const BIOS_INFORMATION: u8 = 0;
const SYSTEM: u8 = 1;
const CHASSIS: u8 = 3;
const PROCESSOR: u8 = 4;
const MEMORY_ARRAY: u8 = 16;
const MEMORY_DEVICE: u8 = 17;
const MEMORY_MAPPED: u8 = 19;
const SYSTEM_BOOT: u8 = 32;
const END: u8 = 127;

const HANDLE_CHASSIS: u16 = 0x300;
const HANDLE_ARRAY: u16 = 0x1000;
const HANDLE_NONE: u16 = 0xfffe;
const UNKNOWN: u8 = 2;

/// What of the machine shows in the tables.
#[derive(Debug, Clone, Copy)]
pub struct SmbiosRequest {
    /// In bytes.
    pub memory: u64,
    pub processors: u32,
    pub uuid: [u8; 16],
}

/// Entry point and structures, to be placed at [`SMBIOS_AREA`].
#[must_use]
pub fn build(request: &SmbiosRequest) -> (Gpa, Vec<u8>) {
    let structures = structures(request).bytes;
    let at = SMBIOS_AREA.0 + ENTRY_LEN as u64;
    let mut bytes = entry_point(structures.len(), at);
    bytes.extend(structures);
    debug_assert!(SMBIOS_AREA.0 + bytes.len() as u64 <= BIOS_AREA_END.0);
    (SMBIOS_AREA, bytes)
}

/// Files for fw_cfg: firmware places both, and says in the first where the second is.
pub(crate) struct SmbiosFiles {
    pub(crate) anchor: Vec<u8>,
    pub(crate) tables: Vec<u8>,
}

pub(crate) fn files(request: &SmbiosRequest) -> SmbiosFiles {
    let structures = structures(request);
    SmbiosFiles {
        // Firmware boots systems of all ages, of which those before 2015 look for no other.
        anchor: old_entry_point(&structures),
        tables: structures.bytes,
    }
}

fn structures(request: &SmbiosRequest) -> Structures {
    let mut structures = Structures::default();
    firmware(&mut structures);
    system(&mut structures, &request.uuid);
    chassis(&mut structures);
    processor(&mut structures, request.processors);
    memory(&mut structures, request.memory);
    structures.add(SYSTEM_BOOT, 0x2000, &[0; 7], &[]);
    structures.add(END, 0x7f00, &[], &[]);
    structures
}

/// For structures of `len` bytes at `at`.
fn entry_point(len: usize, at: u64) -> Vec<u8> {
    let mut entry = b"_SM3_".to_vec();
    entry.extend([0, ENTRY_LEN as u8, 3, 6, 0, 1, 0]);
    // A few hundred bytes.
    entry.extend((len as u32).to_le_bytes());
    entry.extend(at.to_le_bytes());
    entry[5] = checksum(&entry);
    entry
}

/// The entry point of SMBIOS 2.1, whose address of the structures firmware fills in, and with it
/// both checksums. Spec: "SMBIOS 2.1 (32-bit) Entry Point".
fn old_entry_point(structures: &Structures) -> Vec<u8> {
    const INTERMEDIATE: usize = 16;
    let mut entry = b"_SM_".to_vec();
    // A few hundred bytes in all, so none of these numbers is too large for its field.
    entry.extend([0, OLD_ENTRY_LEN as u8, 2, 8]);
    entry.extend((structures.longest as u16).to_le_bytes());
    entry.extend([0; 6]);
    entry.extend(b"_DMI_\0");
    entry.extend((structures.bytes.len() as u16).to_le_bytes());
    entry.extend(0u32.to_le_bytes());
    entry.extend((structures.count as u16).to_le_bytes());
    entry.push(0x28);
    entry[INTERMEDIATE + 5] = checksum(&entry[INTERMEDIATE..]);
    entry[4] = checksum(&entry);
    entry
}

/// Structures one behind the other.
#[derive(Debug, Default)]
struct Structures {
    bytes: Vec<u8>,
    count: usize,
    /// Bytes of the longest, with its strings.
    longest: usize,
}

impl Structures {
    /// Adds one: header, the formatted area, the strings that the area numbers from 1.
    fn add(&mut self, kind: u8, handle: u16, body: &[u8], strings: &[&str]) {
        let start = self.bytes.len();
        // The longest body has some forty bytes.
        self.bytes.extend([kind, (body.len() + 4) as u8]);
        self.bytes.extend(handle.to_le_bytes());
        self.bytes.extend(body);
        for string in strings {
            self.bytes.extend(string.as_bytes());
            self.bytes.push(0);
        }
        if strings.is_empty() {
            self.bytes.push(0);
        }
        self.bytes.push(0);
        self.count += 1;
        self.longest = self.longest.max(self.bytes.len() - start);
    }
}

fn firmware(structures: &mut Structures) {
    let mut body = vec![1, 2];
    // The BIOS's segment.
    body.extend(0xf000u16.to_le_bytes());
    body.extend([3, 0]);
    // Characteristics are not supported (bit 3); it is a virtual machine (extension byte 2, bit 4).
    body.extend((1u64 << 3).to_le_bytes());
    body.extend([0, 1 << 4, 0xff, 0xff, 0xff, 0xff]);
    body.extend(0u16.to_le_bytes());
    structures.add(
        BIOS_INFORMATION,
        0,
        &body,
        &[MAKER, env!("CARGO_PKG_VERSION"), "01/01/2026"],
    );
}

fn system(structures: &mut Structures, uuid: &[u8; 16]) {
    const POWER_SWITCH: u8 = 6;
    let mut body = vec![1, 2, 3, 0];
    body.extend(uuid);
    body.extend([POWER_SWITCH, 0, 0]);
    let strings = [MAKER, "Innkeeper guest", env!("CARGO_PKG_VERSION")];
    structures.add(SYSTEM, 0x100, &body, &strings);
}

fn chassis(structures: &mut Structures) {
    const OTHER: u8 = 1;
    const SAFE: u8 = 3;
    let mut body = vec![1, OTHER, 0, 0, 0, SAFE, SAFE, SAFE, UNKNOWN];
    body.extend([0; 8]);
    structures.add(CHASSIS, HANDLE_CHASSIS, &body, &[MAKER]);
}

fn processor(structures: &mut Structures, count: u32) {
    const CENTRAL: u8 = 3;
    const POPULATED_ENABLED: u8 = 0x41;
    const SEE_SECOND: u8 = 0xfe;
    const NO_CACHE: u16 = 0xffff;
    let few = u8::try_from(count).unwrap_or(0xff);
    let many = u16::try_from(count).unwrap_or(u16::MAX);
    let mut body = vec![1, CENTRAL, SEE_SECOND, 2];
    body.extend([0; 8]);
    body.extend([0, 0]);
    body.extend([0; 6]);
    body.extend([POPULATED_ENABLED, UNKNOWN]);
    for _ in 0..3 {
        body.extend(NO_CACHE.to_le_bytes());
    }
    body.extend([0, 0, 0, few, few, few]);
    // Characteristics: 64-bit capable, multi-core.
    body.extend(0b1100u16.to_le_bytes());
    // Processor family 2: x86-64.
    body.extend(1u16.to_le_bytes());
    for _ in 0..3 {
        body.extend(many.to_le_bytes());
    }
    structures.add(PROCESSOR, 0x400, &body, &["CPU 0", MAKER]);
}

fn memory(structures: &mut Structures, memory: u64) {
    memory_array(structures, memory);
    memory_device(structures, memory);
    let low = memory.min(crate::layout::LOW_RAM_LIMIT.0);
    memory_range(structures, 0x1300, 0, low);
    if memory > low {
        memory_range(structures, 0x1301, HIGH_RAM.0, memory - low);
    }
}

fn memory_array(structures: &mut Structures, memory: u64) {
    const OTHER: u8 = 1;
    const SYSTEM_MEMORY: u8 = 3;
    const MULTI_BIT_ECC: u8 = 6;
    const SEE_EXTENDED: u32 = 0x8000_0000;
    let mut body = vec![OTHER, SYSTEM_MEMORY, MULTI_BIT_ECC];
    body.extend(SEE_EXTENDED.to_le_bytes());
    body.extend(HANDLE_NONE.to_le_bytes());
    body.extend(1u16.to_le_bytes());
    body.extend(memory.to_le_bytes());
    structures.add(MEMORY_ARRAY, HANDLE_ARRAY, &body, &[]);
}

fn memory_device(structures: &mut Structures, memory: u64) {
    const DIMM: u8 = 9;
    const RAM: u8 = 7;
    const SEE_EXTENDED: u16 = 0x7fff;
    // At most 16 TiB, in MiB.
    let megabytes = (memory / MIB) as u32;
    let mut body = Vec::new();
    body.extend(HANDLE_ARRAY.to_le_bytes());
    body.extend(HANDLE_NONE.to_le_bytes());
    body.extend(0xffffu16.to_le_bytes());
    body.extend(0xffffu16.to_le_bytes());
    let size = u16::try_from(megabytes)
        .unwrap_or(SEE_EXTENDED)
        .min(SEE_EXTENDED);
    body.extend(size.to_le_bytes());
    body.extend([DIMM, 0, 1, 0, RAM]);
    body.extend([0, 0]);
    body.extend(0u16.to_le_bytes());
    body.extend([2, 0, 0, 0, 0]);
    body.extend(megabytes.to_le_bytes());
    body.extend(0u16.to_le_bytes());
    body.extend([0; 6]);
    structures.add(MEMORY_DEVICE, 0x1100, &body, &["DIMM 0", MAKER]);
}

fn memory_range(structures: &mut Structures, handle: u16, start: u64, len: u64) {
    const SEE_EXTENDED: u32 = 0xffff_ffff;
    let last = start + len - 1;
    let short = u32::try_from(start / KIB)
        .ok()
        .zip(u32::try_from(last / KIB).ok());
    let (from, to) = short.unwrap_or((SEE_EXTENDED, SEE_EXTENDED));
    let mut body = Vec::new();
    body.extend(from.to_le_bytes());
    body.extend(to.to_le_bytes());
    body.extend(HANDLE_ARRAY.to_le_bytes());
    body.push(1);
    let extended = if short.is_none() {
        (start, last)
    } else {
        (0, 0)
    };
    body.extend(extended.0.to_le_bytes());
    body.extend(extended.1.to_le_bytes());
    structures.add(MEMORY_MAPPED, handle, &body, &[]);
}

#[cfg(test)]
mod tests;
