//! Linux bzImage. Spec: Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".

use super::ImageError;
use super::bytes::{slice_at, u8_at, u16_at, u32_at, u64_at};

/// Where the setup header begins, in the file and in the zero page alike.
pub(super) const HEADER: u64 = 0x1f1;
const HEADER_END_MAX: u64 = 0x290;
const BOOT_FLAG: u16 = 0xaa55;
const MAGIC: u32 = u32::from_le_bytes(*b"HdrS");
const LOADED_HIGH: u8 = 1 << 0;
const KERNEL_64: u16 = 1 << 0;
const DEFAULT_SETUP_SECTORS: u8 = 4;
const SECTOR: u64 = 512;
/// The initial RAM disk's limit where the header names none.
const DEFAULT_INITRD_MAX: u32 = 0x37ff_ffff;
const DEFAULT_COMMAND_LINE: u32 = 255;
const WHAT: &str = "the kernel's setup header";

/// What a bzImage says about itself. Borrowed from the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BzImage<'a> {
    /// Boot protocol, major in the high byte.
    pub protocol: u16,
    /// The setup header, to be copied into the zero page at [`HEADER`].
    pub header: &'a [u8],
    /// Everything after the real-mode part.
    pub kernel: &'a [u8],
    /// Where the kernel would like to be.
    pub preferred: u64,
    pub relocatable: bool,
    pub alignment: u64,
    /// Bytes from the load address that the kernel uses before it reads the memory map.
    pub init_size: u64,
    /// There is a 64-bit entry, 0x200 bytes behind the load address.
    pub long_entry: bool,
    /// Last address that the initial RAM disk may touch.
    pub initrd_max: u64,
    /// Bytes of command line, without the closing zero.
    pub command_line_size: u32,
}

/// Does the file claim to be a Linux kernel image?
#[must_use]
pub(super) fn is_bzimage(file: &[u8]) -> bool {
    u16_at(file, 0x1fe, WHAT) == Ok(BOOT_FLAG) && u32_at(file, 0x202, WHAT) == Ok(MAGIC)
}

impl<'a> BzImage<'a> {
    /// # Errors
    /// When the file is not a bzImage, is cut off, or is older than protocol 2.02 or not loaded high.
    pub fn parse(file: &'a [u8]) -> Result<BzImage<'a>, ImageError> {
        if !is_bzimage(file) {
            return Err(ImageError::Unknown);
        }
        let protocol = u16_at(file, 0x206, WHAT)?;
        if protocol < 0x202 {
            let what = "a boot protocol older than 2.02";
            return Err(ImageError::Unsupported { what });
        }
        if u8_at(file, 0x211, WHAT)? & LOADED_HIGH == 0 {
            let what = "a zImage that is loaded low";
            return Err(ImageError::Unsupported { what });
        }
        let code32_start = u64::from(u32_at(file, 0x214, WHAT)?);
        let since = |version: u16| protocol >= version;
        if code32_start == 0 && !since(0x20a) {
            // As iPXE's ipxe.lkrn is: its code is in what is loaded for real mode.
            let what = "a kernel that begins in real mode, where it would find a BIOS,";
            return Err(ImageError::Unsupported { what });
        }
        let kernel = kernel_part(file, protocol)?;
        let mut image = BzImage {
            protocol,
            header: header_part(file)?,
            kernel,
            preferred: code32_start,
            relocatable: false,
            alignment: 1,
            init_size: kernel.len() as u64,
            long_entry: false,
            initrd_max: u64::from(DEFAULT_INITRD_MAX),
            command_line_size: DEFAULT_COMMAND_LINE,
        };
        if since(0x203) {
            image.initrd_max = u64::from(u32_at(file, 0x22c, WHAT)?);
        }
        if since(0x205) {
            image.alignment = u64::from(u32_at(file, 0x230, WHAT)?).max(1);
            image.relocatable = u8_at(file, 0x234, WHAT)? != 0;
        }
        if since(0x206) {
            image.command_line_size = u32_at(file, 0x238, WHAT)?;
        }
        if since(0x20a) {
            image.preferred = u64_at(file, 0x258, WHAT)?;
            image.init_size = u64::from(u32_at(file, 0x260, WHAT)?).max(kernel.len() as u64);
        }
        if since(0x20c) {
            image.long_entry = u16_at(file, 0x236, WHAT)? & KERNEL_64 != 0;
        }
        Ok(image)
    }

    /// Where to load the kernel when RAM from 1 MiB ends at `ram_end`.
    ///
    /// # Errors
    /// When it fits nowhere.
    pub fn load_address(&self, ram_end: u64) -> Result<u64, ImageError> {
        const LOWEST: u64 = 0x10_0000;
        let fits = |at: u64| {
            at >= LOWEST
                && at
                    .checked_add(self.init_size)
                    .is_some_and(|end| end <= ram_end)
        };
        if fits(self.preferred) {
            return Ok(self.preferred);
        }
        let lowest = LOWEST
            .checked_next_multiple_of(self.alignment)
            .unwrap_or(u64::MAX);
        if self.relocatable && fits(lowest) {
            return Ok(lowest);
        }
        Err(ImageError::NoMemoryThere {
            at: self.preferred,
            len: self.init_size,
        })
    }
}

/// The header's end is told by the jump instruction that opens it.
fn header_part(file: &[u8]) -> Result<&[u8], ImageError> {
    let end = 0x202 + u64::from(u8_at(file, 0x201, WHAT)?);
    slice_at(file, HEADER, end.min(HEADER_END_MAX) - HEADER, WHAT)
}

fn kernel_part(file: &[u8], protocol: u16) -> Result<&[u8], ImageError> {
    let sectors = match u8_at(file, HEADER, WHAT)? {
        0 => DEFAULT_SETUP_SECTORS,
        sectors => sectors,
    };
    let start = (u64::from(sectors) + 1) * SECTOR;
    let rest = (file.len() as u64).saturating_sub(start);
    // Before 2.04 only the low half of the size field was there.
    let paragraphs = match protocol {
        0x204.. => u64::from(u32_at(file, 0x1f4, WHAT)?),
        _ => u64::from(u16_at(file, 0x1f4, WHAT)?),
    };
    // The size is in 16-byte units, and images need not be padded to one.
    let least = (paragraphs * 16).saturating_sub(15).max(1);
    if rest < least {
        return Err(ImageError::Truncated {
            what: "the kernel",
            needed: start + paragraphs * 16,
            found: file.len() as u64,
        });
    }
    slice_at(file, start, rest, "the kernel")
}
