//! Where the frames of a guest's network card go to and come from. Knows no other crate of ours.
//!
//! A [`Link`] is one queue pair's way out. It is driven by whoever has the card's queues, from one
//! thread: [`Link::send`] takes a frame from the guest, [`Link::receive`] hands one out when the
//! guest has room. Frames are pulled, never pushed, so a guest that takes nothing makes nothing
//! pile up here: what waits, waits in the host's sockets or on the other side.
//!
//! - [`UserLink`]: user-mode network, no privilege needed.
//! - [`TapLink`]: an interface of the host.
//! - [`Hub`]: ports that see each other, for tests.
//!
//! [`Vhost`] has the host's kernel move a tap's frames, past all of these.
//!
//! [`Guarded`] is any of them behind its guest's [`Firewall`].

mod checksum;
mod counted;
mod firewall;
mod hub;
mod interface;
mod link;
mod segment;
mod tap;
mod tap_raw;
mod user;
mod vhost;
mod vhost_raw;

pub use checksum::Checksum;
pub use counted::{Counted, Counts, Traffic};
pub use firewall::{Action, Direction, Firewall, Guarded, Peers, Rule, Rules, Transport};
pub use hub::{Hub, HubLink};
pub use interface::InterfaceCounts;
pub use link::{DATA_VALID, OffloadHeader, Offloads};
pub use link::{Frame, GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, Link, MAX_FRAME, NEEDS_CSUM};
pub use segment::finish;
pub use tap::{TapError, TapLink};
pub use user::{BridgeOptions, Subnet, lease};
pub use user::{
    Forward, NetworkBoot, NetworkOptions, Protocol, UserError, UserFlows, UserLink, UserOptions,
};
pub use vhost::{Heard, LentRing, MemoryTable, Requests, RingPlace, Signal, Vhost, VhostError};
