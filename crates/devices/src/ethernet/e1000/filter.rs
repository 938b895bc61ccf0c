//! Which frames a card lets in. Spec: the manual's "Packet Address Filtering", "802.1q VLAN Packet
//! Filtering".

use super::registers as reg;
use super::state::State;
use crate::ethernet::Mac;

impl State {
    pub(super) fn lets_in(&self, frame: &[u8]) -> bool {
        let Some(&to) = frame.first_chunk::<6>() else {
            return false;
        };
        self.is_wanted(to) && self.is_of_a_wanted_vlan(frame)
    }

    fn is_wanted(&self, to: Mac) -> bool {
        let control = self.receive_control;
        if to == [0xff; 6] {
            return control & (reg::RCTL_BROADCAST | reg::RCTL_ALL_GROUPS) != 0;
        }
        let group = to[0] & 1 != 0;
        let all = if group {
            reg::RCTL_ALL_GROUPS
        } else {
            reg::RCTL_ALL_OWN
        };
        control & all != 0 || self.is_listed(to) || group && self.is_hashed(to)
    }

    fn is_listed(&self, to: Mac) -> bool {
        let [a, b, c, d, e, f] = to;
        let low = u32::from_le_bytes([a, b, c, d]);
        let high = u32::from(u16::from_le_bytes([e, f])) | reg::ADDRESS_VALID;
        let mut entries = self.addresses().chunks_exact(2);
        entries.any(|entry| entry[0] == low && entry[1] & (reg::ADDRESS_VALID | 0xffff) == high)
    }

    /// Twelve bits of the address's end name a bit of the table.
    fn is_hashed(&self, to: Mac) -> bool {
        let shift = [4, 3, 2, 0][(self.receive_control >> reg::RCTL_GROUP_SHIFT & 3) as usize];
        let hash = u16::from_le_bytes([to[4], to[5]]) >> shift & 0xfff;
        bit(self.groups(), hash)
    }

    fn is_of_a_wanted_vlan(&self, frame: &[u8]) -> bool {
        if self.receive_control & reg::RCTL_VLAN_FILTER == 0 {
            return true;
        }
        self.tag(frame)
            .is_none_or(|tag| bit(self.vlans(), tag & 0xfff))
    }

    /// The tag of a frame that has one.
    pub(super) fn tag(&self, frame: &[u8]) -> Option<u16> {
        let [kind_high, kind_low, high, low] = *frame.get(12..16)?.first_chunk()?;
        let kind = u16::from_be_bytes([kind_high, kind_low]);
        (u32::from(kind) == self.plain(reg::VET) & 0xffff)
            .then_some(u16::from_be_bytes([high, low]))
    }
}

fn bit(table: &[u32], index: u16) -> bool {
    let word = table.get(usize::from(index >> 5));
    word.is_some_and(|word| word >> (index & 31) & 1 != 0)
}
