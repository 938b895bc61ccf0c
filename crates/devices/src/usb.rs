//! USB: devices, and the controllers that guests reach them by ([`xhci`], and [`uhci`] of old).
//!
//! A device does what its host asks of it at once, so between two accesses of the guest nothing is under way: what a
//! device has to tell of itself later (a key that is pressed) the controller asks it for when somebody rings.

mod descriptors;
mod device;
mod hid;
mod keys;
mod storage;
pub mod uhci;
pub mod xhci;

pub use hid::HidHandle;
