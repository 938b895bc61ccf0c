use crate::testing::{FakeLine, FakeMsi};
use crate::virtio::interrupts::Interrupts;
use crate::virtio::testing::{NEXT, WRITE, queue_state, ram, write_descriptor};
use crate::virtio::{Chain, Nonsense, Ring};
use memory::GuestMemory;
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress};

/// The chain that begins at descriptor 0.
fn chain(memory: &GuestMemory, descriptors: &[(u64, u32, u16)]) -> Result<Chain, Nonsense> {
    let queue = queue_state(0, 16);
    let last = descriptors.len() - 1;
    for (index, &(address, len, flags)) in descriptors.iter().enumerate() {
        let flags = if index < last { flags | NEXT } else { flags };
        let next = u16::try_from(index + 1).unwrap();
        let at = queue.descriptors + 16 * index as u64;
        write_descriptor(memory, at, (address, len, flags, next));
    }
    memory
        .ram()
        .write_obj([0u16, 1, 0], GuestAddress(queue.driver))
        .unwrap();
    let interrupts = Arc::new(Interrupts::new(1, FakeMsi::new(), FakeLine::new()));
    let mut ring = Ring::new(0, 16, memory.clone(), interrupts);
    ring.enable(&queue, false).unwrap();
    ring.pop().map(Option::unwrap)
}

#[test]
fn buffers_read_and_write_as_one_run() {
    let memory = ram();
    memory
        .ram()
        .write_slice(b"0123456789", GuestAddress(0x9000))
        .unwrap();
    let parts = [
        (0x9000, 3, 0),
        (0x9100, 0, 0),
        (0x9003, 7, 0),
        (0xa000, 2, WRITE),
        (0xa010, 4, WRITE),
    ];
    let chain = chain(&memory, &parts).unwrap();
    assert_eq!((chain.readable_len(), chain.writable_len()), (10, 6));
    let mut bytes = [0; 6];
    chain.read_at(2, &mut bytes).unwrap();
    assert_eq!(&bytes, b"234567");
    chain.read_at(10, &mut []).unwrap();
    assert_eq!(chain.read_at(5, &mut bytes), Err(Nonsense::Short));
    chain.write_at(1, b"abcd").unwrap();
    assert_eq!(chain.write_at(3, b"abcd"), Err(Nonsense::Short));
    let mut written = [0; 0x12];
    memory
        .ram()
        .read_slice(&mut written, GuestAddress(0xa000))
        .unwrap();
    assert_eq!((written[1], &written[0x10..0x12]), (b'a', &b"bc"[..]));
}

#[test]
fn what_the_device_writes_is_in_the_dirty_log() {
    let memory = ram();
    let chain = chain(&memory, &[(0xb000 - 2, 4, WRITE)]).unwrap();
    memory.set_dirty_log(true);
    chain.write_at(0, b"four").unwrap();
    let dirty: Vec<u64> = memory.take_dirty_log().iter().map(|page| page.0).collect();
    assert_eq!(dirty, [0xa000, 0xb000]);
}

#[test]
fn order_and_addresses_are_checked() {
    let memory = ram();
    let order = chain(&memory, &[(0x9000, 1, WRITE), (0x9000, 1, 0)]);
    assert_eq!(order.unwrap_err(), Nonsense::Order);
    let outside = chain(&memory, &[(16 << 20, 1, 0)]);
    assert_eq!(outside.unwrap_err(), Nonsense::Address);
    let end = chain(&memory, &[((16 << 20) - 1, 1, 0)]);
    assert_eq!(end.unwrap().readable_len(), 1);
}
