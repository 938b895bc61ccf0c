//! What the cards' tests share: a card on a hub, its memory, and what is at the hub's other port.

use std::sync::Arc;

use memory::{Gpa, GuestMemory, RamRange};
use netio::{Hub, HubLink};
use vm_memory::{Bytes, GuestAddress};

use super::card::EthernetCard;
use super::{Adapter, CardOptions, Mac, group_hash};
use crate::pci::{COMMAND, OptionRom, PciFunction};
use crate::testing::FakeLine;
use crate::virtio::net::Gates;
use crate::virtio::testing::wait_until;

pub(super) const MAC: Mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
pub(super) const OTHER: Mac = [2, 0, 0, 0, 0, 2];

pub(super) struct Setup<A> {
    pub(super) card: EthernetCard<A>,
    pub(super) memory: GuestMemory,
    pub(super) line: Arc<FakeLine>,
    pub(super) world: HubLink,
}

pub(super) fn on_hub<A: Adapter>() -> Setup<A> {
    let ram = RamRange {
        base: Gpa(0),
        len: 1 << 20,
    };
    let memory = GuestMemory::new(&[ram]).unwrap();
    let hub = Hub::new();
    let (link, world) = (hub.plug().unwrap(), hub.plug().unwrap());
    let line = FakeLine::new();
    let options = CardOptions {
        mac: MAC,
        link: Box::new(link),
        gates: Gates::default(),
        rom: OptionRom::default(),
    };
    let mut card = EthernetCard::new(options, memory.clone(), Arc::clone(&line) as _).unwrap();
    // Ports, memory, bus master.
    card.config_write(COMMAND, 2, 7);
    Setup {
        card,
        memory,
        line,
        world,
    }
}

impl<A: Adapter> Setup<A> {
    pub(super) fn put(&self, at: u64, bytes: &[u8]) {
        self.memory
            .ram()
            .write_slice(bytes, GuestAddress(at))
            .unwrap();
    }

    pub(super) fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let at = GuestAddress(at);
        self.memory.ram().read_slice(&mut bytes, at).unwrap();
        bytes
    }

    /// Waits for the next frame on the hub.
    pub(super) fn heard(&mut self) -> Vec<u8> {
        let mut got = None;
        wait_until(|| {
            got = self.world.take();
            got.is_some()
        });
        got.unwrap()
    }
}

pub(super) fn frame(to: Mac, len: usize) -> Vec<u8> {
    let mut frame = [&to[..], &OTHER, &[8, 0]].concat();
    frame.extend((14..=u8::MAX).cycle().take(len - 14));
    frame
}

#[test]
fn groups_are_hashed_as_drivers_do() {
    // Spec: RTL8139 and Linux's ether_crc(): of 01:00:5e:00:00:01, the group of all systems.
    assert_eq!(group_hash([0x01, 0, 0x5e, 0, 0, 1]), 0x1f);
    assert_eq!(group_hash([0x33, 0x33, 0, 0, 0, 1]), 0x3e);
}
