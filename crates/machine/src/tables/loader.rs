//! ACPI tables for firmware, which places them itself: the tables with pointers counted from their own
//! beginning, and a script that says where those pointers and the checksums are.
//! Spec: QEMU hw/acpi/bios-linker-loader.c, "Linker/loader: command entry".

use super::acpi::{ALIGN, AcpiRequest, HEADER_LEN, TPM_LOG_LEN, lay_out, rsdp};

const TABLES: &str = "etc/acpi/tables";
const RSDP: &str = "etc/acpi/rsdp";
/// Where firmware logs what it has measured.
pub(crate) const TPM_LOG: &str = "etc/tpm/log";

const ALLOCATE: u32 = 1;
const ADD_POINTER: u32 = 2;
const ADD_CHECKSUM: u32 = 3;
const ZONE_HIGH: u8 = 1;
const ZONE_F_SEGMENT: u8 = 2;
const NAME_LEN: usize = 56;
const COMMAND_LEN: usize = 128;
const RSDP_ALIGN: u32 = 16;

/// Where a table has its checksum.
const CHECKSUM: usize = 9;
/// The FADT's pointers: place and bytes. Spec: ACPI, "Fixed ACPI Description Table (FADT)".
const FADT_POINTERS: [(usize, u8); 3] = [(36, 4), (40, 4), (140, 8)];
/// The TPM2 table's pointer to the log.
const TPM2_LOG: usize = 68;
/// Checksums of the RSDP: where they are, and how much they are of.
const RSDP_CHECKSUMS: [(usize, u32); 2] = [(8, 20), (32, 36)];
const RSDP_POINTERS: [(usize, u8); 2] = [(16, 4), (24, 8)];

/// Files for fw_cfg.
pub(crate) struct AcpiFiles {
    pub(crate) rsdp: Vec<u8>,
    pub(crate) tables: Vec<u8>,
    pub(crate) loader: Vec<u8>,
    pub(crate) tpm_log: Option<Vec<u8>>,
}

/// The same tables as `build` makes.
pub(crate) fn acpi_files(request: &AcpiRequest) -> AcpiFiles {
    let laid = lay_out(request, 0);
    let mut script = Script::default();
    // All alignments are small.
    script.allocate(TABLES, ALIGN as u32, ZONE_HIGH);
    script.allocate(RSDP, RSDP_ALIGN, ZONE_F_SEGMENT);
    if request.tpm {
        script.allocate(TPM_LOG, ALIGN as u32, ZONE_HIGH);
    }
    let mut tables = vec![0; laid.end as usize];
    for (at, bytes) in &laid.placed {
        let at = at.0 as usize;
        tables[at..at + bytes.len()].copy_from_slice(bytes);
        for (offset, width) in pointers(bytes) {
            script.add_pointer(TABLES, at + offset, width, TABLES);
        }
        if bytes.starts_with(b"TPM2") {
            script.add_pointer(TABLES, at + TPM2_LOG, 8, TPM_LOG);
        }
    }
    // Firmware counts what is in the field as part of the sum.
    for (at, bytes) in laid.placed.iter().filter(|(_, bytes)| is_summed(bytes)) {
        let at = at.0 as usize;
        tables[at + CHECKSUM] = 0;
        script.add_checksum(TABLES, at + CHECKSUM, at, bytes.len() as u32);
    }
    let mut rsdp = rsdp(laid.rsdt_at, laid.xsdt_at);
    for (at, width) in RSDP_POINTERS {
        script.add_pointer(RSDP, at, width, TABLES);
    }
    for (at, len) in RSDP_CHECKSUMS {
        rsdp[at] = 0;
        script.add_checksum(RSDP, at, 0, len);
    }
    AcpiFiles {
        rsdp,
        tables,
        loader: script.0,
        tpm_log: request.tpm.then(|| vec![0; TPM_LOG_LEN as usize]),
    }
}

fn is_summed(table: &[u8]) -> bool {
    !table.starts_with(b"FACS")
}

/// Where a table has pointers to others, and how wide they are.
fn pointers(table: &[u8]) -> Vec<(usize, u8)> {
    let list = |width: u8| {
        let places = (HEADER_LEN..table.len()).step_by(width.into());
        places.map(|at| (at, width)).collect()
    };
    match &table[..4] {
        b"FACP" => FADT_POINTERS.to_vec(),
        b"RSDT" => list(4),
        b"XSDT" => list(8),
        _ => Vec::new(),
    }
}

/// Commands, of one length each.
#[derive(Default)]
struct Script(Vec<u8>);

impl Script {
    fn command(&mut self, kind: u32, fields: &[&[u8]]) {
        let end = self.0.len() + COMMAND_LEN;
        self.0.extend(kind.to_le_bytes());
        for field in fields {
            self.0.extend(*field);
        }
        self.0.resize(end, 0);
    }

    fn allocate(&mut self, file: &str, align: u32, zone: u8) {
        self.command(ALLOCATE, &[&name(file), &align.to_le_bytes(), &[zone]]);
    }

    /// A pointer into the file `to`.
    fn add_pointer(&mut self, file: &str, at: usize, width: u8, to: &str) {
        let place = (at as u32).to_le_bytes();
        self.command(ADD_POINTER, &[&name(file), &name(to), &place, &[width]]);
    }

    fn add_checksum(&mut self, file: &str, at: usize, start: usize, len: u32) {
        let (place, start) = ((at as u32).to_le_bytes(), (start as u32).to_le_bytes());
        let fields: [&[u8]; 4] = [&name(file), &place, &start, &len.to_le_bytes()];
        self.command(ADD_CHECKSUM, &fields);
    }
}

fn name(text: &str) -> [u8; NAME_LEN] {
    let mut field = [0; NAME_LEN];
    field[..text.len()].copy_from_slice(text.as_bytes());
    field
}

#[cfg(test)]
mod tests;
