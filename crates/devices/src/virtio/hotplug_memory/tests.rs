use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};

use super::{BLOCK, HotplugMemory, HotplugMemoryHandle};
use crate::pci::PciFunction;
use crate::virtio::testing::{Buffer, Driver, RAM, wait_until};

/// Where the region begins, and how many blocks it has.
const BASE: u64 = 1 << 32;
const BLOCKS: u64 = 70;

const PLUG: u16 = 0;
const UNPLUG: u16 = 1;
const UNPLUG_ALL: u16 = 2;
const STATE: u16 = 3;

const DONE: [u16; 2] = [0, 0];
const REFUSED: [u16; 2] = [1, 0];
const WRONG: [u16; 2] = [3, 0];

struct Guest {
    driver: Driver,
    memory: GuestMemory,
    handle: HotplugMemoryHandle,
}

fn region() -> RamRange {
    RamRange {
        base: Gpa(BASE),
        len: BLOCKS * BLOCK + 4096,
    }
}

fn device(memory: &GuestMemory) -> (HotplugMemory, HotplugMemoryHandle) {
    let device = HotplugMemory::new(memory.clone(), region());
    let handle = device.handle();
    (device, handle)
}

impl Guest {
    fn begin() -> Guest {
        let low = RamRange {
            base: Gpa(0),
            len: RAM,
        };
        let memory = GuestMemory::new(&[low, region()]).unwrap();
        let (device, handle) = device(&memory);
        let mut driver = Driver::with_memory(device, memory.clone());
        driver.start(1 << 1);
        Guest {
            driver,
            memory,
            handle,
        }
    }

    /// The answer's kind and state.
    fn ask(&mut self, kind: u16, address: u64, blocks: u16) -> [u16; 2] {
        let mut bytes = u64::from(kind).to_le_bytes().to_vec();
        bytes.extend(address.to_le_bytes());
        bytes.extend(u64::from(blocks).to_le_bytes());
        let head = self
            .driver
            .submit(0, &[Buffer::Out(&bytes), Buffer::In(10)]);
        assert_eq!(self.driver.answer(0), (head, 10));
        let answer = self.driver.written(0, head);
        [answer[0], answer[8]].map(u16::from)
    }

    fn plugged(&self) -> u64 {
        self.handle.report().plugged / BLOCK
    }
}

fn block(index: u64) -> u64 {
    BASE + index * BLOCK
}

#[test]
fn a_guest_gets_what_the_host_wants_it_to_have() {
    let mut guest = Guest::begin();
    assert_eq!(guest.ask(PLUG, block(0), 1), REFUSED);
    guest.driver.use_msix();
    guest.handle.request(3 * BLOCK - 1);
    let msi = guest.driver.msi.clone();
    wait_until(|| !msi.take().is_empty());
    let config = guest.driver.device;
    assert_eq!(guest.driver.function_read(config + 48, 8), 3 * BLOCK);
    assert_eq!(guest.ask(PLUG, block(64), 2), DONE);
    assert_eq!(guest.ask(PLUG, block(0), 2), REFUSED);
    assert_eq!(guest.ask(PLUG, block(0), 1), DONE);
    assert_eq!(guest.driver.function_read(config + 40, 8), 3 * BLOCK);
    assert_eq!(guest.ask(STATE, block(64), 2), [0, 0]);
    assert_eq!(guest.ask(STATE, block(1), 5), [0, 1]);
    assert_eq!(guest.ask(STATE, block(63), 2), [0, 2]);
}

#[test]
fn what_is_unplugged_is_the_hosts() {
    let mut guest = Guest::begin();
    guest.handle.request(u64::MAX);
    assert_eq!(guest.ask(PLUG, block(5), 2), DONE);
    let place = GuestAddress(block(6));
    guest.memory.ram().write_obj(7u64, place).unwrap();
    let before = guest.memory.resident();
    assert_eq!(guest.ask(UNPLUG, block(6), 1), DONE);
    assert!(guest.memory.resident() < before + 2 * 4096);
    assert_eq!(guest.memory.ram().read_obj::<u64>(place).unwrap(), 0);
    assert_eq!(guest.plugged(), 1);
    assert_eq!(guest.ask(UNPLUG_ALL, 0, 0), DONE);
    assert_eq!(guest.plugged(), 0);
}

#[test]
fn blocks_that_there_are_not_are_refused() {
    let mut guest = Guest::begin();
    guest.handle.request(u64::MAX);
    assert_eq!(guest.handle.report().requested, BLOCKS * BLOCK);
    assert_eq!(guest.ask(PLUG, block(1), 1), DONE);
    for (kind, address, blocks) in [
        (PLUG, block(0), 0),
        (PLUG, block(0), 2),
        (PLUG, block(0) + 4096, 1),
        (PLUG, block(BLOCKS), 1),
        (PLUG, block(BLOCKS - 1), 2),
        (PLUG, block(0), u16::MAX),
        (PLUG, 1 << 63, 1),
        (PLUG, 0, 1),
        (UNPLUG, block(1), 2),
        (UNPLUG, block(0), 1),
        (STATE, block(BLOCKS), 1),
        (4, block(0), 1),
        (u16::MAX, 0, 0),
    ] {
        let answer = guest.ask(kind, address, blocks);
        assert_eq!(answer, WRONG, "{kind} {address:#x} {blocks}");
    }
    assert_eq!(guest.plugged(), 1);
}

#[test]
fn a_machine_that_begins_anew_has_nothing_plugged() {
    let mut guest = Guest::begin();
    guest.handle.request(2 * BLOCK);
    assert_eq!(guest.ask(PLUG, block(3), 2), DONE);
    // The driver's own reset leaves memory where it is.
    assert!(guest.driver.negotiate(1 << 1));
    assert_eq!(guest.plugged(), 2);
    guest
        .memory
        .ram()
        .write_obj(7u64, GuestAddress(block(3)))
        .unwrap();
    guest.driver.function.reset();
    assert_eq!(guest.plugged(), 0);
    assert_eq!(guest.handle.report().requested, 2 * BLOCK);
    let left: u64 = guest.memory.ram().read_obj(GuestAddress(block(3))).unwrap();
    assert_eq!(left, 0);
}

#[test]
fn a_restored_device_has_its_blocks_and_no_others() {
    let mut guest = Guest::begin();
    guest.handle.request(4 * BLOCK);
    assert_eq!(guest.ask(PLUG, block(66), 4), DONE);
    guest.driver.function.quiesce();
    let saved = guest.driver.function.save();
    let (device, handle) = device(&guest.memory);
    let mut driver = Driver::with_memory(device, guest.memory.clone());
    driver.function.restore(&saved).unwrap();
    assert_eq!(handle.report(), guest.handle.report());

    let smaller = RamRange {
        base: Gpa(BASE),
        len: 64 * BLOCK,
    };
    let device = HotplugMemory::new(guest.memory.clone(), smaller);
    let mut driver = Driver::with_memory(device, guest.memory.clone());
    assert!(driver.function.restore(&saved).is_err());
}
