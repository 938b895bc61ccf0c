//! Decoded blocks and the cache that finds them by guest-physical address.
