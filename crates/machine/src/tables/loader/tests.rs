use memory::Gpa;

use super::{ADD_CHECKSUM, ADD_POINTER, ALLOCATE, AcpiFiles, COMMAND_LEN, acpi_files};
use crate::tables::AcpiRequest;

/// Where our firmware puts the tables, and the RSDP.
const TABLES_AT: u64 = 0x7ff_0000;
const RSDP_AT: u64 = 0xf_5a00;
const LOG_AT: u64 = 0x7fe_0000;

fn made() -> AcpiFiles {
    made_with(false)
}

fn made_with(tpm: bool) -> AcpiFiles {
    acpi_files(&AcpiRequest {
        apic_ids: vec![0, 1],
        present: None,
        slots: (1..32).collect(),
        pci_window_64: Gpa(0x4_0000_0000),
        serial_count: 2,
        parallel: true,
        tpm,
        pc_window: Some(Gpa(0x8000_0000)),
        pci_window_64_len: 1 << 34,
    })
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |all, byte| all << 8 | u64::from(*byte))
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte))
}

/// What firmware does with the script, on a memory of two files.
fn run(files: AcpiFiles) -> (Vec<u8>, Vec<u8>) {
    let (mut tables, mut rsdp) = (files.tables, files.rsdp);
    let is_rsdp = |name: &[u8]| name.starts_with(b"etc/acpi/rsdp\0");
    for command in files.loader.chunks(COMMAND_LEN) {
        let (kind, body) = (number(&command[..4]) as u32, &command[4..]);
        let file = if is_rsdp(body) {
            &mut rsdp
        } else {
            &mut tables
        };
        match kind {
            ALLOCATE => {}
            ADD_POINTER => {
                let (at, width) = (number(&body[112..116]) as usize, usize::from(body[116]));
                let to = if body[56..].starts_with(b"etc/tpm/log\0") {
                    LOG_AT
                } else {
                    TABLES_AT
                };
                let value = number(&file[at..at + width]) + to;
                file[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            }
            ADD_CHECKSUM => {
                let field = |index: usize| number(&body[56 + 4 * index..][..4]) as usize;
                let (at, start, len) = (field(0), field(1), field(2));
                assert_eq!(file[at], 0);
                file[at] = 0u8.wrapping_sub(sum(&file[start..start + len]));
            }
            other => panic!("command {other}"),
        }
    }
    (tables, rsdp)
}

#[test]
fn what_firmware_measures_is_logged_where_the_tpms_table_says() {
    let files = made_with(true);
    assert_eq!(files.tpm_log.as_ref().map(Vec::len), Some(64 << 10));
    let (tables, _) = run(files);
    let at = tables.windows(4).position(|name| name == b"TPM2").unwrap();
    let table = &tables[at..at + number(&tables[at + 4..at + 8]) as usize];
    assert_eq!((table.len(), sum(table)), (76, 0));
    assert_eq!(number(&table[40..48]), 0xfed4_0040);
    assert_eq!(number(&table[48..52]), 7);
    assert_eq!(number(&table[64..68]), 64 << 10);
    assert_eq!(number(&table[68..76]), LOG_AT);
    assert!(tables.windows(8).any(|name| name == b"MSFT0101"));
    let none = made();
    assert!(none.tpm_log.is_none() && !none.tables.windows(4).any(|name| name == b"TPM2"));
}

#[test]
fn every_table_is_found_and_sums_to_zero() {
    let (tables, rsdp) = run(made());
    assert!(RSDP_AT > 0 && sum(&rsdp[..20]) == 0 && sum(&rsdp) == 0);
    let at = |pointer: u64| (pointer - TABLES_AT) as usize;
    let table = |pointer: u64| {
        let start = at(pointer);
        let len = number(&tables[start + 4..start + 8]) as usize;
        &tables[start..start + len]
    };
    let xsdt = table(number(&rsdp[24..32]));
    let rsdt = table(number(&rsdp[16..20]));
    assert_eq!((&xsdt[..4], &rsdt[..4]), (&b"XSDT"[..], &b"RSDT"[..]));
    assert_eq!((sum(xsdt), sum(rsdt)), (0, 0));
    let names: Vec<&[u8]> = xsdt[36..]
        .chunks(8)
        .map(|pointer| {
            let found = table(number(pointer));
            assert_eq!(sum(found), 0);
            &found[..4]
        })
        .collect();
    assert_eq!(names, [b"FACP", b"APIC", b"WAET"]);
    let fadt = table(number(&xsdt[36..44]));
    assert_eq!(&table(number(&fadt[36..40]))[..4], b"FACS");
    assert_eq!(number(&fadt[36..40]) % 64, 0);
    assert_eq!(&table(number(&fadt[140..148]))[..4], b"DSDT");
    assert_eq!(number(&fadt[40..44]), number(&fadt[140..148]));
}
