//! The control queue: what the driver sets by messages.
//! Spec: VIRTIO 1.2, "Network Device", "Control Virtqueue".

use crate::virtio::net::Mac;
use crate::virtio::net::filter::{Filter, TABLE_LEN};
use crate::virtio::net::shared::{GUEST_OFFLOADS, Shared};
use crate::virtio::{Chain, Nonsense};

const OK: u8 = 0;
const ERROR: u8 = 1;
/// The longest message: two tables that are too long to be kept.
const MAX_LEN: usize = 2 + 2 * (4 + 6 * 1024);

const CLASS_RX: u8 = 0;
const CLASS_MAC: u8 = 1;
const CLASS_VLAN: u8 = 2;
const CLASS_ANNOUNCE: u8 = 3;
const CLASS_MQ: u8 = 4;
const CLASS_GUEST_OFFLOADS: u8 = 5;

/// Carries one message out and answers it.
pub(super) fn answer(shared: &Shared, features: u64, chain: &Chain) -> Result<u32, Nonsense> {
    let len = usize::try_from(chain.readable_len()).unwrap_or(usize::MAX);
    let mut message = vec![0; len.min(MAX_LEN)];
    chain.read_at(0, &mut message)?;
    let done = len <= MAX_LEN && carry_out(shared, features, &message).is_some();
    chain.write_at(0, &[if done { OK } else { ERROR }])?;
    Ok(1)
}

/// `None` for what does not exist.
fn carry_out(shared: &Shared, features: u64, message: &[u8]) -> Option<()> {
    let (&[class, command], data) = message.split_first_chunk()?;
    match class {
        CLASS_RX => {
            let on = *data.first()? != 0;
            shared.change(|state| set_mode(&mut state.filter, command, on))
        }
        CLASS_MAC => match command {
            0 => set_tables(shared, data),
            1 => {
                let mac: Mac = data.try_into().ok()?;
                shared.change(|state| state.mac = mac);
                Some(())
            }
            _ => None,
        },
        CLASS_VLAN if command <= 1 => {
            let vlan = u16::from_le_bytes(data.try_into().ok()?);
            shared
                .change(|state| state.filter.set_vlan(vlan, command == 0))
                .then_some(())
        }
        CLASS_ANNOUNCE if command == 0 => {
            shared.change(|state| state.announce = false);
            Some(())
        }
        CLASS_MQ if command == 0 => {
            let pairs = u16::from_le_bytes(data.try_into().ok()?);
            (1..=shared.pairs()).contains(&pairs).then_some(())?;
            shared.change(|state| state.active_pairs = pairs);
            Some(())
        }
        CLASS_GUEST_OFFLOADS if command == 0 => {
            let wanted = u64::from_le_bytes(data.try_into().ok()?);
            (wanted & !(features & GUEST_OFFLOADS) == 0).then_some(())?;
            shared.change(|state| state.guest_offloads = Some(wanted));
            Some(())
        }
        _ => None,
    }
}

fn set_mode(filter: &mut Filter, command: u8, on: bool) -> Option<()> {
    let switch = match command {
        0 => &mut filter.promiscuous,
        1 => &mut filter.all_multicast,
        2 => &mut filter.all_unicast,
        3 => &mut filter.no_multicast,
        4 => &mut filter.no_unicast,
        5 => &mut filter.no_broadcast,
        _ => return None,
    };
    *switch = on;
    Some(())
}

fn set_tables(shared: &Shared, data: &[u8]) -> Option<()> {
    let (unicast, rest) = table(data)?;
    let (multicast, _) = table(rest)?;
    shared.change(|state| state.filter.set_tables(&unicast, &multicast));
    Some(())
}

/// A count and that many addresses; no more of them than tell that there are too many.
fn table(data: &[u8]) -> Option<(Vec<Mac>, &[u8])> {
    let (count, rest) = data.split_first_chunk()?;
    let len = usize::try_from(u32::from_le_bytes(*count))
        .ok()?
        .checked_mul(6)?;
    let (addresses, rest) = rest.split_at_checked(len)?;
    let addresses = addresses.as_chunks().0;
    let kept = &addresses[..addresses.len().min(TABLE_LEN + 1)];
    Some((kept.to_vec(), rest))
}
