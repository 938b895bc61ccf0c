//! Whether the host's kernel may move a tap's frames (vhost-net), and by what.

use std::sync::Arc;

use devices::virtio::{KernelPath, Onlookers};
use netio::{InterfaceCounts, TapLink};

use crate::board::Board;
use crate::choice::chain;
use crate::config::{NetworkConfig, NetworkModel};
use crate::control::MachineControl;

/// Why it does not, of what is no tap of the host's: user networks are made here, and on a bridge a guest is
/// kept honest here.
pub(super) const ELSEWHERE: &str = "frames of this network are looked at in the guest's process";

/// One for each queue of a tap; none where the kernel does not serve it, and then the card's traffic says why.
pub(super) fn paths(
    board: &Board,
    network: &NetworkConfig,
    name: &str,
    taps: &[TapLink],
    control: &MachineControl,
) -> Vec<KernelPath> {
    let traffic = &network.traffic;
    match try_paths(board, network, name, taps, control) {
        Ok(paths) => {
            traffic.kernel_idle("the guest's driver has not begun");
            paths
        }
        Err(why) => {
            traffic.kernel_idle(&why);
            Vec::new()
        }
    }
}

fn try_paths(
    board: &Board,
    network: &NetworkConfig,
    name: &str,
    taps: &[TapLink],
    control: &MachineControl,
) -> Result<Vec<KernelPath>, String> {
    if network.model != NetworkModel::Virtio {
        return Err("the card is not one of virtio's".to_owned());
    }
    if !board.bears_untold_writes() {
        return Err(
            "the engine keeps what it knows of memory, which a kernel would write unseen"
                .to_owned(),
        );
    }
    let interface = InterfaceCounts::open(name)
        .map_err(|error| format!("the interface's counts cannot be read: {error}"))?;
    let onlookers = Onlookers {
        firewall: control.firewall(),
        traffic: Arc::clone(&network.traffic),
        interface: Arc::new(interface),
    };
    let paths = taps.iter().map(|tap| {
        let path = KernelPath::open(tap, board.memory(), onlookers.clone());
        path.map_err(|error| chain(&error))
    });
    paths.collect()
}
