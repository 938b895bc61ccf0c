//! What firmware would have left in memory before it starts a kernel: tables and the BIOS data area.

use memory::{Gpa, GuestMemory};
use vm_memory::{Bytes, GuestAddress};

use crate::MachineError;
use crate::config::MachineConfig;
use crate::layout::{
    EBDA, KIB, PC_PCI_WINDOW_64_LEN, PCI_WINDOW_64_LEN, pc_pci_window, pci_window_64,
};
use crate::machine::random;
use crate::ports;
use crate::tables::{self, AcpiRequest, GENERATION, GENERATION_LEN, SmbiosRequest};

/// Spec: IBM PS/2 BIOS Technical Reference, "BIOS Data Area".
const BDA_SERIAL_PORTS: Gpa = Gpa(0x400);
const BDA_PARALLEL_PORT: Gpa = Gpa(0x408);
const BDA_EBDA_SEGMENT: Gpa = Gpa(0x40e);
const BDA_MEMORY_KIB: Gpa = Gpa(0x413);
/// Where a PC's firmware starts, and where a guest jumps in real mode that resets through it.
const RESET_ENTRY: Gpa = Gpa(0xf_fff0);
/// `mov dx, 0xcf9; mov al, 6; out dx, al; hlt; jmp short -3`: the machine's reset register.
const RESET_CODE: [u8; 9] = [0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xf4, 0xeb, 0xfd];

/// What of the machine the tables tell.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// In bytes.
    pub(crate) memory: u64,
    /// Those that there can be.
    pub(crate) vcpus: u32,
    /// Which of them are there, where they come and go.
    pub(crate) present: Option<Vec<bool>>,
    /// PCI slots whose devices come and go.
    pub(crate) slots: Vec<u8>,
    pub(crate) parallel: bool,
    pub(crate) tpm: bool,
    pub(crate) uuid: [u8; 16],
}

impl Facts {
    /// What is known before there are devices; `vcpus` as there.
    pub(crate) fn new(config: &MachineConfig, vcpus: u32) -> Result<Facts, MachineError> {
        Ok(Facts {
            memory: config.memory,
            vcpus,
            present: None,
            slots: Vec::new(),
            parallel: config.parallel.is_some(),
            tpm: config.tpm.is_some(),
            uuid: random()?,
        })
    }

    /// For a board with firmware (`pc`) or without.
    pub(crate) fn acpi(&self, memory: &GuestMemory, pc: bool) -> AcpiRequest {
        let ranges = memory.ranges();
        AcpiRequest {
            apic_ids: (0..self.vcpus).collect(),
            present: self.present.clone(),
            slots: self.slots.clone(),
            pci_window_64: pci_window_64(&ranges),
            serial_count: ports::SERIAL.len(),
            parallel: self.parallel,
            tpm: self.tpm,
            pc_window: pc.then(|| pc_pci_window(&ranges)),
            pci_window_64_len: if pc {
                PC_PCI_WINDOW_64_LEN
            } else {
                PCI_WINDOW_64_LEN
            },
        }
    }

    pub(crate) fn smbios(&self) -> SmbiosRequest {
        SmbiosRequest {
            memory: self.memory,
            processors: self.vcpus,
            uuid: self.uuid,
        }
    }
}

/// Writes everything. Done again at each reset.
pub(crate) fn install(memory: &GuestMemory, facts: &Facts) -> Result<(), MachineError> {
    // The most processors that a machine may have do fit; a test keeps it so.
    let acpi = tables::acpi(&facts.acpi(memory, false)).unwrap_or_default();
    let smbios = tables::smbios(&facts.smbios());
    for (at, bytes) in acpi.iter().chain([&smbios]) {
        write(memory, *at, bytes)?;
    }
    renew_generation(memory)?;
    for (at, port) in (BDA_SERIAL_PORTS.0..).step_by(2).zip(ports::SERIAL) {
        write(memory, Gpa(at), &port.first.to_le_bytes())?;
    }
    if facts.parallel {
        write(memory, BDA_PARALLEL_PORT, &ports::PARALLEL.to_le_bytes())?;
    }
    // A segment and a count of KiB below 1 MiB: 16 bits each.
    write(
        memory,
        BDA_EBDA_SEGMENT,
        &((EBDA.0 >> 4) as u16).to_le_bytes(),
    )?;
    write(
        memory,
        BDA_MEMORY_KIB,
        &((EBDA.0 / KIB) as u16).to_le_bytes(),
    )?;
    // The first byte of the area is its own size in KiB.
    write(memory, EBDA, &[1])?;
    write(memory, RESET_ENTRY, &RESET_CODE)
}

/// Gives the guest another generation. It is to be told.
pub(crate) fn renew_generation(memory: &GuestMemory) -> Result<(), MachineError> {
    let number: [u8; GENERATION_LEN] = random()?;
    write(memory, GENERATION, &number)
}

/// Where the guest wants to go on after a sleep in S3, if it said so: an address below 1 MiB.
/// Spec: ACPI, "Firmware ACPI Control Structure (FACS)", field "Firmware Waking Vector".
pub(crate) fn waking_vector(memory: &GuestMemory) -> Option<u32> {
    let field = |offset| -> Option<u32> {
        let at = GuestAddress(tables::FACS.0 + offset);
        memory.ram().read_obj(at).ok().map(u32::from_le)
    };
    let vector = field(12)?;
    let intact = field(0)? == u32::from_le_bytes(*b"FACS");
    (intact && (1..1 << 20).contains(&vector)).then_some(vector)
}

fn write(memory: &GuestMemory, at: Gpa, bytes: &[u8]) -> Result<(), MachineError> {
    let written = memory.ram().write_slice(bytes, GuestAddress(at.0));
    written.map_err(|_| MachineError::TooLittleMemory {
        memory: memory.ranges().iter().map(|range| range.len).sum(),
        least: crate::layout::MIN_MEMORY,
    })
}

#[cfg(test)]
mod tests;
