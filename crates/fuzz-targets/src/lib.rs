//! What the fuzzer runs. Each target is a plain function over bytes that panics, aborts or crashes
//! when something is wrong, so that libFuzzer (`fuzz/`) and the smoke test of this crate run the
//! same code. Inputs have no format: a target takes its decisions off the front, one by one
//! ([`Input`]), and every input means something.
//!
//! To add a target, write the function and name it in [`TARGETS`].

mod board;
mod boot;
mod bridge;
mod devices;
mod disk;
mod ethernet;
mod folder;
mod foreign;
mod fw_cfg;
mod gpu;
mod heirs;
mod hot_plug;
mod input;
mod interpreter;
mod lockstep;
mod machines;
mod migration;
mod namespace_raw;
mod nbd;
mod network;
mod pc;
mod pci;
mod shared_network;
mod sound;
mod tpm;
mod uhci;
mod usb;
mod vga;
mod virtio_sound;
mod vsock;

use std::panic;
use std::sync::Once;

pub use input::Input;

/// One thing that is attacked.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The fuzzer's name for it, and its corpus's.
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Inputs that get far, where bytes at random do not.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// From now on a panic on any thread ends the process: targets whose devices have threads of their
/// own would not see it.
fn strict() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            before(info);
            std::process::abort();
        }));
    });
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target {
        name,
        run,
        seeds: Vec::new,
    }
}

pub const TARGETS: &[Target] = &[
    target("interpreter", interpreter::interpreter),
    target("interpreter-smp", interpreter::interpreter_smp),
    target("cpu-state", interpreter::cpu_state),
    Target {
        seeds: lockstep::seeds,
        ..target("lockstep", lockstep::lockstep)
    },
    Target {
        seeds: lockstep::seeds,
        ..target("inherited-code", lockstep::inherited_code)
    },
    Target {
        seeds: boot::seeds,
        ..target("kernels", boot::kernels)
    },
    Target {
        seeds: disk::seeds,
        ..target("qcow2", disk::qcow2)
    },
    Target {
        seeds: foreign::seeds,
        ..target("foreign-disks", foreign::foreign)
    },
    Target {
        seeds: nbd::seeds,
        ..target("nbd", nbd::nbd)
    },
    Target {
        seeds: migration::seeds,
        ..target("migration", migration::receive)
    },
    Target {
        seeds: migration::seeds_of_targets,
        ..target("page-requests", migration::serve)
    },
    Target {
        seeds: migration::seeds_of_late_pages,
        ..target("late-pages", migration::late)
    },
    target("block-requests", pci::block_requests),
    target("virtio-devices", pci::virtio_devices),
    target("gpu-commands", gpu::commands),
    target("pci", pci::bus),
    target("device-registers", devices::registers),
    target("device-states", devices::states),
    target("interrupts", devices::interrupts),
    target("folder", folder::folder),
    target("hot-plug", hot_plug::hot_plug),
    target("saved-machine", machines::restore),
    target("user-network", network::user_network),
    target("shared-network", shared_network::shared_network),
    target("bridged-network", bridge::bridge),
    target("firewall", bridge::firewall),
    Target {
        seeds: vga::seeds,
        ..target("vga", vga::vga)
    },
    target("vsock", vsock::vsock),
    target("disk-controller", pc::disk_controller),
    target("nvme", pc::nvme),
    target("ahci", pc::ahci),
    target("xhci", usb::xhci),
    target("uhci", uhci::uhci),
    target("chipset", pc::chipset),
    target("ethernet-cards", ethernet::cards),
    target("sound", sound::card),
    target("sound-blaster", sound::blaster),
    target("virtio-sound", virtio_sound::card),
    target("tpm", tpm::tpm),
    target("fw-cfg", fw_cfg::fw_cfg),
];

/// Runs one input of the target with this name, for the fuzzer.
///
/// # Panics
/// When there is no such target, or the target finds something.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").run)(bytes);
}
