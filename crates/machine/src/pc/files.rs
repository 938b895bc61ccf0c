//! The files that firmware reads from fw_cfg. Spec: SeaBIOS docs/Runtime_config.md.

use memory::GuestMemory;

use crate::fw_cfg::File;
use crate::layout::low_ram_end;
use crate::tables::{self, AcpiRequest, SmbiosRequest};

/// An E820 entry's type of usable RAM.
const E820_RAM: u32 = 1;

/// No place in memory where the operating system asks firmware for what takes a person's consent; a TPM 2.0; the
/// version of that place. Spec: QEMU docs/specs/tpm.rst, "fw_cfg Interface".
const TPM_CONFIG: [u8; 6] = [0, 0, 0, 0, 2, 0];

/// What the files are made from.
#[derive(Debug)]
pub(crate) struct FilesRequest<'a> {
    pub(crate) memory: &'a GuestMemory,
    pub(crate) acpi: &'a AcpiRequest,
    pub(crate) smbios: &'a SmbiosRequest,
    /// What to boot from, the first choice first, as firmware names devices.
    pub(crate) boot_order: &'a [String],
    /// Firmware's console, on the first serial port rather than on a display.
    pub(crate) serial_console: bool,
}

pub(crate) fn files(request: &FilesRequest<'_>) -> Vec<File> {
    let file = |name, content| File { name, content };
    let acpi = tables::acpi_files(request.acpi);
    let smbios = tables::smbios_files(request.smbios);
    let mut files = vec![
        file("etc/e820", e820(request.memory)),
        file("etc/acpi/rsdp", acpi.rsdp),
        file("etc/acpi/tables", acpi.tables),
        file("etc/table-loader", acpi.loader),
        file("etc/smbios/smbios-anchor", smbios.anchor),
        file("etc/smbios/smbios-tables", smbios.tables),
        // Nobody is there to press a key.
        file("etc/show-boot-menu", vec![0]),
    ];
    if let Some(log) = acpi.tpm_log {
        files.push(file(tables::TPM_LOG, log));
        files.push(file("etc/tpm/config", TPM_CONFIG.to_vec()));
    }
    if !request.boot_order.is_empty() {
        let mut order = request.boot_order.join("\n").into_bytes();
        order.push(0);
        files.push(file("bootorder", order));
    }
    if request.serial_console {
        files.push(file("etc/sercon-port", 0x3f8u16.to_le_bytes().to_vec()));
    }
    files
}

/// RAM, as firmware wants it: the hole below 1 MiB is its own affair.
fn e820(memory: &GuestMemory) -> Vec<u8> {
    let ranges = memory.initial_ranges();
    let low_end = low_ram_end(&ranges).0;
    let high = ranges.iter().filter(|range| range.base.0 >= low_end);
    let all = std::iter::once((0, low_end)).chain(high.map(|range| (range.base.0, range.len)));
    all.flat_map(|(base, len)| {
        let mut entry = base.to_le_bytes().to_vec();
        entry.extend(len.to_le_bytes());
        entry.extend(E820_RAM.to_le_bytes());
        entry
    })
    .collect()
}
