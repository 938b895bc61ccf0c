//! Processes that were forked from one, and have all that it had at the same addresses.

use std::sync::OnceLock;

use rustix::rand::{GetRandomFlags, getrandom};

static KIN: OnceLock<Option<Kin>> = OnceLock::new();

/// What a process and those forked from it have in common, and nobody else can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kin(pub(crate) [u8; 16]);

/// The caller's process and all that are forked from it from now on are of one kin.
pub fn begin_kin() {
    kin();
}

/// This process's. `None` where the host gives no random numbers.
pub(crate) fn kin() -> Option<Kin> {
    *KIN.get_or_init(|| {
        let mut random = [0; 16];
        let len = getrandom(&mut random, GetRandomFlags::empty()).ok()?;
        (len == random.len()).then_some(Kin(random))
    })
}
