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
//! Rejected: post-copy. The target would have to serve faults of KVM and of system calls by userfaultfd,
//! which unprivileged processes get for their own code only; and a cut network then costs the guest.

mod convergence;
mod disk;
pub mod frame;
mod known;
mod packed;
mod receiver;
mod sender;

pub use convergence::{Convergence, Round, Verdict};
pub use disk::{CHUNK, Tracked};
pub use frame::{FrameError, Hello, Kind};
pub use receiver::{Bounds, Received, Receiver};
pub use sender::{Sender, Sent};
