use memory::{Gpa, GuestMemory};
use vm_memory::{Bytes, GuestAddress};

use super::{Facts, install};
use crate::MAX_VCPUS;
use crate::layout::{MIN_MEMORY, PCI_WINDOW_64_LEN, ram_ranges};
use crate::tables::{self, AcpiRequest};

#[test]
fn tables_have_room_for_the_most_processors() {
    let request = AcpiRequest {
        apic_ids: (0..MAX_VCPUS).collect(),
        present: None,
        slots: (1..32).collect(),
        pci_window_64: Gpa(1 << 34),
        serial_count: 2,
        parallel: true,
        tpm: true,
        pc_window: None,
        pci_window_64_len: PCI_WINDOW_64_LEN,
    };
    assert!(tables::acpi(&request).is_some());
}

#[test]
fn the_smallest_guest_has_its_tables() {
    let memory = GuestMemory::new(&ram_ranges(MIN_MEMORY)).expect("a MiB");
    let facts = Facts {
        memory: MIN_MEMORY,
        vcpus: 1,
        present: None,
        slots: (1..32).collect(),
        parallel: true,
        tpm: true,
        uuid: [0; 16],
    };
    install(&memory, &facts).expect("there is RAM for them");
    let word = |at| memory.ram().read_obj::<u16>(GuestAddress(at)).expect("RAM");
    assert_eq!(word(0x400), 0x3f8);
    assert_eq!(word(0x408), 0x378);
    assert_eq!(word(0x40e), 0x9fc0);
    assert_eq!(word(0xe_0000), u16::from_le_bytes(*b"RS"));
    assert_eq!(word(0xf_0000), u16::from_le_bytes(*b"_S"));
    assert_eq!(word(0xf_fff0), 0xf9ba);
}
