//! A guest on its way to another host: what its processes there and here send each other.
//!
//! Problem: a guest is to go on elsewhere as if nothing had been. Choice: *pre-copy*. Its memory is sent while it
//! runs, then what it wrote meanwhile, round by round, until what is left can be sent in the time that it may
//! stand still; it stops, the rest and its state are sent, and it goes on there. Disks that are not shared go the
//! same way before ([`Tracked`] knows what is written to them). A guest that writes faster than the network
//! takes is slowed down ([`Convergence`]).
//!
//! **The hand-over has two phases**, so that there is exactly one guest whatever fails. The target says that it
//! has all and could run ([`Kind::Ready`]); until then, and until the source has said [`Kind::Go`], the source has
//! the guest and the target does nothing but wait. From `Go` on the source never runs it, unless somebody who
//! knows that the target does not says so.
//!
//! **What comes is hostile**: frames are short, there is room for what was agreed upon and for no more, and what is
//! kept lies in files of the guest's own.
//!
//! **Post-copy**, where somebody wants it: a guest of which there is not less to send from round to round begins there
//! without what is left, and that follows ([`PageServer`] here, [`Fetcher`] there). From `Go` on neither side has the
//! whole guest, until the target says [`Kind::Complete`]; so the source keeps its memory until then, as it was. When the
//! connection breaks meanwhile the guest stands still there, and goes on when there is another. Rejected: that it goes on
//! here then. It has spoken to the world since, and written to its disks.
//!
//! Rejected: post-copy for everybody. The target serves faults of KVM and of system calls by userfaultfd, which a host gives
//! to few; and whoever loses either host meanwhile loses the guest.

mod convergence;
mod disk;
mod fetcher;
pub mod frame;
mod known;
mod missing;
mod packed;
mod page_server;
mod receiver;
mod sender;

pub use convergence::{Convergence, Otherwise, Round, Verdict};
pub use disk::{CHUNK, Tracked};
pub use fetcher::{Connection, Fetcher, Fetching, late_pages};
pub use frame::{FrameError, Hello, Kind};
pub use page_server::PageServer;
pub use receiver::{Bounds, Received, Receiver};
pub use sender::{Sender, Sent, Way};
