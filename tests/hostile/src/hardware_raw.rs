//! Ports, memory and what is in neither: all that a guest reaches the machine by.

use core::arch::asm;
use core::ptr;

/// A value of one to four bytes from a port.
pub(crate) fn input(port: u16, size: u8) -> u32 {
    let mut value: u32 = 0;
    // SAFETY: ports have no effect on what Rust knows of but by DMA, which the callers keep away from
    // this program's memory.
    unsafe {
        match size {
            1 => asm!("in al, dx", in("dx") port, inout("eax") value, options(nostack)),
            2 => asm!("in ax, dx", in("dx") port, inout("eax") value, options(nostack)),
            _ => asm!("in eax, dx", in("dx") port, out("eax") value, options(nostack)),
        }
    }
    value
}

pub(crate) fn output(port: u16, size: u8, value: u32) {
    // SAFETY: as for `input`.
    unsafe {
        match size {
            1 => asm!("out dx, al", in("dx") port, in("eax") value, options(nostack)),
            2 => asm!("out dx, ax", in("dx") port, in("eax") value, options(nostack)),
            _ => asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack)),
        }
    }
}

/// Reads one to eight bytes of memory or of a device.
pub(crate) fn load(address: u64, size: u8) -> u64 {
    // SAFETY: the lower 32 GiB are mapped, and callers stay there; whatever is there can be read.
    unsafe {
        match size {
            1 => ptr::read_volatile(address as *const u8).into(),
            2 => ptr::read_volatile((address & !1) as *const u16).into(),
            4 => ptr::read_volatile((address & !3) as *const u32).into(),
            _ => ptr::read_volatile((address & !7) as *const u64),
        }
    }
}

/// Writes one to eight bytes of memory or of a device.
#[allow(
    clippy::cast_possible_truncation,
    reason = "the lower bytes are what is written"
)]
pub(crate) fn store(address: u64, size: u8, value: u64) {
    // SAFETY: as for `load`; callers write to devices and above this program alone.
    unsafe {
        match size {
            1 => ptr::write_volatile(address as *mut u8, value as u8),
            2 => ptr::write_volatile((address & !1) as *mut u16, value as u16),
            4 => ptr::write_volatile((address & !3) as *mut u32, value as u32),
            _ => ptr::write_volatile((address & !7) as *mut u64, value),
        }
    }
}

/// Lets others have the processor for a while.
pub(crate) fn relax(rounds: u32) {
    for _ in 0..rounds {
        core::hint::spin_loop();
    }
}

/// Waits for what never comes, with interrupts masked.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: nothing is left to do.
        unsafe { asm!("hlt", options(nostack, nomem)) }
    }
}

/// What whoever starts the guest has written into its file.
#[repr(C)]
pub(crate) struct Orders {
    magic: [u8; 16],
    pub(crate) seed: u64,
    /// How often each attack is made.
    pub(crate) rounds: u64,
    /// A bit for each attack that is to be made.
    pub(crate) attacks: u64,
    /// Bytes of RAM below 4 GiB.
    pub(crate) memory: u64,
    /// It ends by the device for that, rather than standing still.
    pub(crate) exits: u64,
}

#[unsafe(link_section = ".orders")]
#[used]
static ORDERS: Orders = Orders {
    magic: *b"hostile orders: ",
    seed: 1,
    rounds: 1,
    attacks: u64::MAX,
    memory: 32 << 20,
    exits: 0,
};

pub(crate) fn orders() -> Orders {
    // SAFETY: it is plain data; volatile, because the file is changed after it was compiled.
    unsafe { ptr::read_volatile(&raw const ORDERS) }
}
