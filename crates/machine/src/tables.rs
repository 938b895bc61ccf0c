//! The tables that firmware would leave in memory: ACPI and SMBIOS.

mod acpi;
mod dsdt;
mod generation;
mod loader;
mod processors;
mod slots;
mod smbios;

pub use acpi::{AcpiRequest, FACS, build as acpi};
pub(crate) use generation::{GENERATION, GENERATION_LEN};
pub(crate) use loader::{TPM_LOG, acpi_files};
pub(crate) use smbios::files as smbios_files;
pub use smbios::{SmbiosRequest, build as smbios};

/// The byte that makes all bytes of a table sum to zero.
fn checksum(bytes: &[u8]) -> u8 {
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    0u8.wrapping_sub(sum)
}
