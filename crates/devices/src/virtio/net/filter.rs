//! Which frames the guest wants. As long as its driver has not said, all.
//! Spec: VIRTIO 1.2, "Packet Receive Filtering", "Setting MAC Address Filtering", "VLAN Filtering".

use serde::{Deserialize, Serialize};

use crate::virtio::net::Mac;

/// Addresses of one kind that are kept. Of a longer list, all of that kind are let in.
pub(super) const TABLE_LEN: usize = 64;
const VLANS: u16 = 4096;
const TYPE_VLAN: [u8; 2] = [0x81, 0x00];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the specification's"
)]
pub(super) struct Filter {
    pub(super) promiscuous: bool,
    pub(super) all_multicast: bool,
    pub(super) all_unicast: bool,
    pub(super) no_multicast: bool,
    pub(super) no_unicast: bool,
    pub(super) no_broadcast: bool,
    unicast: Table,
    multicast: Table,
    /// `None` where the driver does not filter by VLAN.
    vlans: Option<Vec<u16>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Table {
    addresses: Vec<Mac>,
    overflown: bool,
}

impl Default for Filter {
    fn default() -> Filter {
        Filter {
            promiscuous: true,
            all_multicast: false,
            all_unicast: false,
            no_multicast: false,
            no_unicast: false,
            no_broadcast: false,
            unicast: Table::default(),
            multicast: Table::default(),
            vlans: None,
        }
    }
}

impl Filter {
    /// Does a frame that begins like this go to a guest with address `mac`?
    pub(super) fn lets_in(&self, start: &[u8], mac: Mac) -> bool {
        let Some(&[d0, d1, d2, d3, d4, d5, _, _, _, _, _, _, t0, t1]) = start.first_chunk() else {
            return false;
        };
        if [t0, t1] == TYPE_VLAN && !self.vlan_wanted(start) {
            return false;
        }
        let destination = [d0, d1, d2, d3, d4, d5];
        if self.promiscuous {
            true
        } else if destination == [0xff; 6] {
            !self.no_broadcast
        } else if d0 & 1 != 0 {
            !self.no_multicast && (self.all_multicast || self.multicast.holds(destination))
        } else {
            destination == mac
                || !self.no_unicast && (self.all_unicast || self.unicast.holds(destination))
        }
    }

    fn vlan_wanted(&self, start: &[u8]) -> bool {
        let Some(vlans) = &self.vlans else {
            return true;
        };
        let Some(&[high, low]) = start.get(14..16) else {
            return false;
        };
        let vlan = u16::from_be_bytes([high, low]) % VLANS;
        vlans.binary_search(&vlan).is_ok()
    }

    /// The driver will name its VLANs, and none so far.
    pub(super) fn filter_vlans(&mut self) {
        self.vlans.get_or_insert_default();
    }

    /// Answers whether there is such a VLAN.
    pub(super) fn set_vlan(&mut self, vlan: u16, wanted: bool) -> bool {
        let Some(vlans) = self.vlans.as_mut().filter(|_| vlan < VLANS) else {
            return false;
        };
        match (vlans.binary_search(&vlan), wanted) {
            (Err(place), true) => vlans.insert(place, vlan),
            (Ok(place), false) => {
                vlans.remove(place);
            }
            _ => {}
        }
        true
    }

    pub(super) fn set_tables(&mut self, unicast: &[Mac], multicast: &[Mac]) {
        self.unicast = Table::new(unicast);
        self.multicast = Table::new(multicast);
    }

    /// Could this have been saved?
    pub(super) fn is_possible(&self) -> bool {
        let fits = |table: &Table| table.addresses.len() <= TABLE_LEN;
        let vlans = self.vlans.as_deref().unwrap_or_default();
        let sorted = vlans.windows(2).all(|pair| pair[0] < pair[1]);
        fits(&self.unicast)
            && fits(&self.multicast)
            && sorted
            && vlans.iter().all(|&vlan| vlan < VLANS)
    }
}

impl Table {
    fn new(addresses: &[Mac]) -> Table {
        let overflown = addresses.len() > TABLE_LEN;
        Table {
            addresses: if overflown {
                Vec::new()
            } else {
                addresses.to_vec()
            },
            overflown,
        }
    }

    fn holds(&self, address: Mac) -> bool {
        self.overflown || self.addresses.contains(&address)
    }
}

#[cfg(test)]
mod tests;
