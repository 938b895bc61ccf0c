//! NBD: a disk of another process or host as a block device, and a block device for them.
//! Spec: NetworkBlockDevice/nbd, doc/proto.md, "Fixed newstyle negotiation", "Transmission phase".
//!
//! Both sides speak the fixed newstyle handshake with `NBD_OPT_GO` and simple replies, one request at
//! a time on a connection, which every server and client of today understands. Rejected for now:
//! structured replies, whose use would be to tell holes; TLS.

mod address;
mod client;
mod protocol;
mod server;

pub use address::NbdAddress;
pub use client::{NbdDisk, check_nbd_server};
pub use server::{NbdServer, serve_connection};

#[cfg(test)]
mod tests;
