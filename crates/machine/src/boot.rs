//! From files to a guest that is ready to run: kernels by four protocols, initial RAM disks, the
//! memory map.
//!
//! Everything here comes from outside and is hostile. Parsers take bytes and answer values borrowed
//! from them; only then is anything written to guest memory, bounds checked against the RAM there is.

mod bytes;
mod bzimage;
mod command_line;
mod content;
mod elf;
mod entry;
mod error;
mod frame_buffer;
mod initrd;
mod linux;
mod multiboot;
mod place;
mod pvh;
mod source;

pub use bzimage::BzImage;
pub use elf::Elf;
pub use error::{BootError, ImageError};
pub use frame_buffer::FrameBuffer;
pub use multiboot::{Multiboot, SEARCH as PROBE_LEN};
pub use place::Piece;
pub use source::{BootSource, SourceFile};

use crate::config::MachineConfig;
use crate::fw_cfg::KernelItems;
use error::Fault;
use memory::GuestMemory;
use x86::CpuState;

/// How a kernel file wants to be booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    /// Linux boot protocol (also memtest86+).
    BzImage,
    /// ELF with the Xen PVH entry note.
    Pvh,
    /// Multiboot 1.
    Multiboot,
}

/// What the person who runs the guest says about the boot.
#[derive(Debug, Clone, Copy)]
pub struct BootRequest<'a> {
    /// The file's name, which multiboot kernels get as their first word.
    pub kernel_name: &'a str,
    pub command_line: &'a str,
    pub given: Given<'a>,
}

/// What the machine gives the kernel.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// Entropy for the guest's generator; may be empty.
    pub seed: &'a [u8],
    /// The processor has long mode.
    pub long_mode: bool,
    /// What is shown.
    pub frame_buffer: Option<FrameBuffer>,
}

/// Finds out how the file is to be booted. The content decides, never the name.
///
/// # Errors
/// When it is no kernel we know, or an ELF file too damaged to say.
pub fn probe(file: &[u8]) -> Result<ImageKind, ImageError> {
    if bzimage::is_bzimage(file) {
        return Ok(ImageKind::BzImage);
    }
    if is_multiboot(file) {
        return Ok(ImageKind::Multiboot);
    }
    if elf::is_elf(file) {
        return match Elf::parse(file)?.pvh_entry {
            Some(_) => Ok(ImageKind::Pvh),
            None => Err(pvh::NO_ENTRY),
        };
    }
    Err(ImageError::Unknown)
}

/// Is a file that begins so a multiboot kernel? [`PROBE_LEN`] bytes are enough to tell.
#[must_use]
pub fn is_multiboot(head: &[u8]) -> bool {
    !bzimage::is_bzimage(head) && multiboot::find_header(head).is_some()
}

/// Loads `source` into RAM; answers the state in which the boot processor starts.
///
/// # Errors
/// When a file cannot be read, is no kernel, or does not fit. The sentence names the file.
pub fn load(
    memory: &GuestMemory,
    source: &BootSource,
    command_line: &str,
    given: &Given<'_>,
) -> Result<CpuState, BootError> {
    let name = source.kernel.path.to_string_lossy();
    let request = BootRequest {
        kernel_name: &name,
        command_line,
        given: *given,
    };
    let initrd = initrd::Initrd::new(&source.initrd);
    let loaded = load_image(memory, &source.kernel, &request, &initrd);
    loaded.map_err(|fault| match fault {
        Fault::Image(fault) => source.blame(fault),
        Fault::File(error) => error,
    })
}

fn load_image(
    memory: &GuestMemory,
    kernel: &SourceFile,
    request: &BootRequest<'_>,
    initrd: &initrd::Initrd<'_>,
) -> Result<CpuState, Fault> {
    let head = kernel.head(PROBE_LEN)?;
    if elf::is_elf(&head) && !bzimage::is_bzimage(&head) && !is_multiboot(&head) {
        let elf = Elf::of(kernel)?;
        if elf.linux && request.given.long_mode && request.given.frame_buffer.is_some() {
            return linux::boot_elf(memory, kernel, &elf, request, initrd);
        }
        return pvh::boot(memory, kernel, &elf, request, initrd);
    }
    let total = memory.initial_ranges().iter().map(|range| range.len).sum();
    let file = kernel.read_all(total)?;
    match probe(&file)? {
        ImageKind::BzImage => linux::boot(memory, &file, request, initrd),
        ImageKind::Multiboot => multiboot::boot(memory, &Multiboot::parse(&file)?, request, initrd),
        ImageKind::Pvh => {
            let file = &file[..];
            pvh::boot(memory, &file, &Elf::parse(file)?, request, initrd)
        }
    }
}

/// What firmware gets that starts the kernel itself.
///
/// # Errors
/// When a file cannot be read, or all of them do not fit into the guest's memory.
pub(crate) fn kernel_items(config: &MachineConfig) -> Result<KernelItems, BootError> {
    let source = BootSource::open(&config.kernel, &config.initrd)?;
    let limit = config.memory.min(u32::MAX.into());
    let read = |file: &SourceFile| file.read_all(limit);
    let parts = source.initrd.iter().map(read);
    Ok(KernelItems {
        kernel: read(&source.kernel)?,
        initrd: initrd::joined(parts.collect::<Result<_, _>>()?),
        command_line: config.command_line.clone(),
    })
}

#[cfg(test)]
mod tests;
