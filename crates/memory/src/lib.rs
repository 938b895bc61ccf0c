//! Guest-physical memory: where the guest's RAM lives on the host, which pages were written, and
//! which pages hold code that an engine has decoded.
//!
//! RAM is private memory of the guest's process, which may begin as what files hold: so the host's kernel
//! copies what is written, be it by the guest that began as such a file, or while a fork of the process
//! writes down how the memory was. Every write, whoever makes it (a device through [`vm_memory::Bytes`], an engine
//! through its own fast path), is reported to the region's [`PageTracker`]. That one place gives
//! the dirty log and keeps decoded code coherent; neither needs to know who wrote.

mod addr;
mod bell;
mod device_memory;
mod device_window;
mod guest_memory;
mod lines;
mod page_set;
mod tracker;
mod zeroed_raw;

pub use addr::{Gla, Gpa, PAGE_SHIFT, PAGE_SIZE};
pub use bell::{Bell, Named, news};
pub use device_memory::{DeviceMemories, DeviceMemory, Placement};
pub use device_window::{DeviceWindow, Part};
pub use guest_memory::{
    DamagedIndex, GuestMemory, GuestRam, HostPage, Layer, LayerError, MemoryError, MemoryPlan,
    MissingPages, RamRange, Recording, Run, Userfault, index_of, read_index,
};
pub use lines::Lines;
pub use page_set::PageSet;
pub use tracker::{PageKind, PageTracker};
