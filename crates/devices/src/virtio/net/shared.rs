//! What the card's registers, its workers and the host share: settings, not packets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netio::Offloads;
use serde::{Deserialize, Serialize};

use crate::virtio::Doorbell;
use crate::virtio::net::filter::Filter;
use crate::virtio::net::steering::Steering;
use crate::virtio::net::{
    F_CSUM, F_CTRL_VLAN, F_GUEST_CSUM, F_GUEST_ECN, F_GUEST_TSO4, F_GUEST_TSO6, F_HOST_ECN,
    F_HOST_TSO4, F_HOST_TSO6, Mac,
};

/// What of the features can be switched while the driver is at work.
pub(super) const GUEST_OFFLOADS: u64 = F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_TSO6 | F_GUEST_ECN;

const STATUS_LINK_UP: u16 = 1;
const STATUS_ANNOUNCE: u16 = 2;

/// Saved as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) mac: Mac,
    pub(super) link_up: bool,
    /// The guest shall tell its network where it is.
    pub(super) announce: bool,
    pub(super) filter: Filter,
    /// Pairs of queues in use.
    pub(super) active_pairs: u16,
    /// `VIRTIO_NET_F_GUEST_*` that the driver has on now, once it is ready.
    pub(super) guest_offloads: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct NetStateV1 {
    pairs: u16,
    state: State,
}

impl State {
    pub(super) fn status(&self) -> u16 {
        let up = if self.link_up { STATUS_LINK_UP } else { 0 };
        up | if self.announce { STATUS_ANNOUNCE } else { 0 }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Moves with every change of the state, so that workers look at it only then.
    changes: AtomicU64,
    pub(super) steering: Steering,
    born_mac: Mac,
    pairs: u16,
    /// Of all workers.
    wakers: Vec<Arc<Doorbell>>,
}

impl Shared {
    pub(super) fn new(mac: Mac, pairs: u16, wakers: Vec<Arc<Doorbell>>) -> Shared {
        Shared {
            state: Mutex::new(State {
                mac,
                link_up: true,
                announce: false,
                filter: Filter::default(),
                active_pairs: 1,
                guest_offloads: None,
            }),
            changes: AtomicU64::new(1),
            steering: Steering::default(),
            born_mac: mac,
            pairs,
            wakers,
        }
    }

    pub(super) fn pairs(&self) -> u16 {
        self.pairs
    }

    /// To look at only.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the state has changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.changes.fetch_add(1, Ordering::AcqRel);
        changed
    }

    /// A driver is ready; or a restored device goes on, whose state is there already.
    pub(super) fn driver_ready(&self, features: u64) {
        self.change(|state| {
            if features & F_CTRL_VLAN != 0 {
                state.filter.filter_vlans();
            }
            // As negotiated, until control says otherwise.
            state
                .guest_offloads
                .get_or_insert(features & GUEST_OFFLOADS);
        });
    }

    /// The driver starts anew. The cable stays as it is.
    pub(super) fn driver_reset(&self) {
        self.steering.reset();
        self.change(|state| {
            *state = State {
                mac: self.born_mac,
                link_up: state.link_up,
                announce: false,
                filter: Filter::default(),
                active_pairs: 1,
                guest_offloads: None,
            };
        });
    }

    pub(super) fn save(&self) -> Vec<u8> {
        let saved = NetStateV1 {
            pairs: self.pairs,
            state: self.state().clone(),
        };
        // Plain values always serialise; an empty body is refused on restore.
        postcard::to_stdvec(&saved).unwrap_or_default()
    }

    pub(super) fn restore(&self, bytes: &[u8]) -> Result<(), String> {
        let saved: NetStateV1 = postcard::from_bytes(bytes).map_err(|error| error.to_string())?;
        if saved.pairs != self.pairs {
            return Err(format!(
                "{} pairs of queues, not {}",
                saved.pairs, self.pairs
            ));
        }
        let state = saved.state;
        if !state.filter.is_possible() || !(1..=self.pairs).contains(&state.active_pairs) {
            return Err("an impossible filter or number of queues".into());
        }
        self.change(|current| *current = state);
        Ok(())
    }
}

/// What the driver's frames may leave undone.
pub(super) fn host_offloads(features: u64) -> Offloads {
    let has = |bit| features & bit != 0;
    let checksum = has(F_CSUM);
    Offloads {
        checksum,
        tso4: checksum && has(F_HOST_TSO4),
        tso6: checksum && has(F_HOST_TSO6),
        ecn: has(F_HOST_ECN),
    }
}

/// What frames for the driver may leave undone.
pub(super) fn guest_offloads(features: u64) -> Offloads {
    let has = |bit| features & bit != 0;
    let checksum = has(F_GUEST_CSUM);
    Offloads {
        checksum,
        tso4: checksum && has(F_GUEST_TSO4),
        tso6: checksum && has(F_GUEST_TSO6),
        ecn: has(F_GUEST_ECN),
    }
}

/// The host's end of a card. Any thread may use it, also after the device is gone.
#[derive(Debug, Clone)]
pub struct NetHandle {
    shared: Arc<Shared>,
}

impl NetHandle {
    pub(super) fn new(shared: Arc<Shared>) -> NetHandle {
        NetHandle { shared }
    }

    /// Plugs the cable in or out.
    pub fn set_link(&self, up: bool) {
        self.shared.change(|state| state.link_up = up);
        self.wake();
    }

    /// Has the guest tell its network where it is, as after a move to another host.
    pub fn announce(&self) {
        self.shared.change(|state| state.announce = true);
        self.wake();
    }

    /// Has the workers look again at what decides on their frames: rules, limits.
    pub fn wake(&self) {
        for waker in &self.shared.wakers {
            waker.ring();
        }
    }
}
