//! Handlers of the interpreter's as sites name them: by how far they lie from each other, which is the same in all
//! processes that run one build, wherever the host puts its libraries.

use std::mem::transmute;

use crate::cpu::Cpu;
use crate::interp::op::{Handler, Op, Stop};

/// What distances are counted from.
static ORIGIN: Handler = origin;

fn origin(_cpu: &mut Cpu, _op: &Op) -> Result<(), Stop> {
    Ok(())
}

/// A handler's distance from the origin, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Distance(i32);

impl Distance {
    /// # Panics
    /// When the two are not parts of one library.
    pub(super) fn to(handler: Handler) -> Distance {
        let distance = (handler as usize).wrapping_sub(ORIGIN as usize) as isize;
        Distance(i32::try_from(distance).expect("handlers lie in one library"))
    }

    /// The handler that it was made of, here or in another process of this build (`made_by_raw`).
    pub(super) fn handler(self) -> Handler {
        let address = (ORIGIN as usize).wrapping_add_signed(self.0 as isize);
        // SAFETY: only `to` makes one, or it lies in a file that whoever adopts it vouches for: the same functions
        // lie at the same distances there.
        unsafe { transmute::<usize, Handler>(address) }
    }
}
