use memory::Gpa;

use super::{AcpiRequest, build};
use crate::layout::{BIOS_AREA, PCI_WINDOW_64_LEN, SMBIOS_AREA};
use crate::tables::GENERATION;

fn request(processors: u32) -> AcpiRequest {
    AcpiRequest {
        apic_ids: (0..processors).collect(),
        present: None,
        slots: (1..32).collect(),
        pci_window_64: Gpa(0x4_0000_0000),
        serial_count: 2,
        parallel: true,
        tpm: false,
        pc_window: None,
        pci_window_64_len: PCI_WINDOW_64_LEN,
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

#[test]
fn every_table_sums_to_zero_and_none_overlap() {
    let tables = build(&request(300)).expect("fits");
    assert_eq!(tables[0].0, BIOS_AREA);
    assert_eq!(sum(&tables[0].1[..20]), 0);
    for (at, bytes) in &tables {
        if bytes.starts_with(b"FACS") || *at == GENERATION {
            continue;
        }
        assert_eq!(sum(bytes), 0, "{:?}", String::from_utf8_lossy(&bytes[..4]));
        assert!(at.0 + bytes.len() as u64 <= SMBIOS_AREA.0);
    }
    for pair in tables.windows(2) {
        assert!(pair[0].0.0 + pair[0].1.len() as u64 <= pair[1].0.0);
    }
}

#[test]
fn the_length_field_is_the_length() {
    let tables = build(&request(2)).expect("fits").into_iter().skip(2);
    for (_, bytes) in tables.filter(|(at, _)| *at != GENERATION) {
        let mut len = [0; 4];
        len.copy_from_slice(&bytes[4..8]);
        assert_eq!(u32::from_le_bytes(len) as usize, bytes.len());
    }
}

#[test]
fn too_many_processors_are_refused() {
    assert!(build(&request(4000)).is_none());
}

/// Writes the tables for `iasl -d`, which is how a person checks them.
#[test]
fn tables_can_be_written_for_a_disassembler() {
    let Ok(folder) = std::env::var("INNKEEPER_ACPI_DUMP") else {
        return;
    };
    for (_, bytes) in &build(&request(2)).expect("fits")[1..] {
        let name = String::from_utf8_lossy(&bytes[..4]).into_owned();
        std::fs::write(format!("{folder}/{name}.aml"), bytes).expect("a writable folder");
    }
}
