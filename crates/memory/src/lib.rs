//! Guest-physical memory: where the guest's RAM lives on the host, which pages were written, and
//! which pages hold code that an engine has decoded.
//!
//! RAM is one memfd mapped shared, so that another process (vhost-user, a forked guest) can map the
//! same pages. Every write, whoever makes it (a device through [`vm_memory::Bytes`], an engine
//! through its own fast path), is reported to the region's [`PageTracker`]. That one place gives
//! the dirty log and keeps decoded code coherent; neither needs to know who wrote.

mod addr;
mod bell;
mod device_memory;
mod guest_memory;
mod lines;
mod tracker;
mod zeroed_raw;

pub use addr::{Gla, Gpa, PAGE_SHIFT, PAGE_SIZE};
pub use bell::{Bell, Named, news};
pub use device_memory::{DeviceMemories, DeviceMemory, Placement};
pub use guest_memory::{GuestMemory, GuestRam, HostPage, MemoryError, MemoryPlan, RamRange};
pub use lines::Lines;
pub use tracker::{PageKind, PageTracker};
