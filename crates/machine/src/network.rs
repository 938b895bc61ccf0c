//! A guest's network card, over what its packets go by.

mod by_kernel;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use devices::ethernet::{CardOptions, E1000Card, Rtl8139Card};
use devices::pci::OptionRom;
use devices::virtio::net::MAX_PAIRS;
use devices::virtio::{KernelPath, Net, NetOptions};
use netio::{Counted, Guarded, Link, Subnet, TapLink, UserLink, UserOptions};

use crate::MachineError;
use crate::board::Board;
use crate::config::{NetworkConfig, NetworkModel, NetworkWay};
use crate::control::MachineControl;
use crate::plugging::Plugged;

/// By what a card without an id is known.
const FIRST_CARD: &str = "net0";
/// What cards of the old world take for the longest packet.
const ETHERNET_MTU: u16 = 1500;

/// One link, or one for each pair of queues; and by what the host's kernel may serve each, where it may.
type Ways = (Vec<Box<dyn Link>>, Vec<KernelPath>);

/// Plugs the card in, and answers into which slot, and how it is taken out again where it can be: one of virtio with
/// a pair of queues for each vCPU, one of the old world with one. All cards have one firewall.
pub(crate) fn add(
    board: &mut Board,
    network: &NetworkConfig,
    vcpus: u32,
    control: &MachineControl,
) -> Result<(u8, Option<Plugged>), MachineError> {
    let virtio = network.model == NetworkModel::Virtio;
    let pairs = match virtio {
        true => u16::try_from(vcpus).unwrap_or(u16::MAX).min(MAX_PAIRS),
        false => 1,
    };
    // iPXE keeps buffers of its card's longest packets, and has room for short ones.
    let long = virtio && network.rom.is_none();
    let (links, kernel) = match &network.way {
        NetworkWay::Tap(name) => on_tap(board, network, name, pairs, control)?,
        way => {
            network.traffic.kernel_idle(by_kernel::ELSEWHERE);
            (links(way, pairs, long)?, Vec::new())
        }
    };
    let subnet = match &network.way {
        NetworkWay::User(_) => Some(Subnet::USER),
        NetworkWay::Bridge(options, _) => Some(options.subnet),
        NetworkWay::Tap(_) => None,
    };
    let guarded = |link| {
        let guarded = Box::new(Guarded::new(link, control.firewall(), subnet));
        Box::new(Counted::new(guarded, Arc::clone(&network.traffic))) as Box<dyn Link>
    };
    let id = if network.id.is_empty() {
        FIRST_CARD
    } else {
        &network.id
    };
    control.count_card(id, &network.traffic);
    let mut links: Vec<Box<dyn Link>> = links.into_iter().map(guarded).collect();
    // Only firmware looks at it.
    let rom = network.rom.as_deref().filter(|_| board.is_pc());
    let rom = rom.map(read_rom).transpose()?.unwrap_or_default();
    let gates = control.gates().network.clone();
    if virtio {
        let options = NetOptions {
            mac: network.mac,
            pairs,
        };
        let device = Net::new(links, &options).through(gates).by_kernel(kernel);
        control.watch_card(id, device.handle());
        let slot = board.add_removable(network.slot, device, rom)?;
        let plugged = Plugged {
            id: network.id.clone(),
            slot,
            disk: None,
            number: None,
        };
        return Ok((slot, Some(plugged)));
    }
    let options = CardOptions {
        mac: network.mac,
        link: links.swap_remove(0),
        gates,
        rom,
    };
    let memory = board.memory().clone();
    let failed = |source| MachineError::Host {
        what: "file descriptor",
        source,
    };
    let slot = match network.model {
        NetworkModel::Rtl8139 => board.plug(network.slot, |wire| {
            Rtl8139Card::new(options, memory, wire).map_err(failed)
        }),
        _ => board.plug(network.slot, |wire| {
            E1000Card::new(options, memory, wire).map_err(failed)
        }),
    }?;
    Ok((slot, None))
}

/// One link, or one for each pair of queues.
fn links(way: &NetworkWay, pairs: u16, long: bool) -> Result<Vec<Box<dyn Link>>, MachineError> {
    let links = match way {
        NetworkWay::User(options) => {
            // What boots from such a network may be iPXE without the card's ROM, from a disc.
            let long = long && options.boot.is_none();
            let options = UserOptions {
                mtu: if long { options.mtu } else { ETHERNET_MTU },
                ..options.clone()
            };
            vec![Box::new(UserLink::new(&options)?) as Box<dyn Link>]
        }
        NetworkWay::Bridge(options, taps) => {
            let taps = taps.iter().take(pairs.into());
            taps.map(|tap| Ok(Box::new(UserLink::on_bridge(own(tap)?, options)?) as Box<dyn Link>))
                .collect::<Result<_, MachineError>>()?
        }
        NetworkWay::Tap(name) => boxed(TapLink::by_name(name, pairs.into())?),
    };
    if links.is_empty() {
        return Err(MachineError::Pci {
            what: "a network card has no link".to_owned(),
        });
    }
    Ok(links)
}

fn boxed(taps: Vec<TapLink>) -> Vec<Box<dyn Link>> {
    let links = taps.into_iter();
    links.map(|link| Box::new(link) as Box<dyn Link>).collect()
}

/// The queues of a tap, and by what the host's kernel may serve each.
fn on_tap(
    board: &Board,
    network: &NetworkConfig,
    name: &str,
    pairs: u16,
    control: &MachineControl,
) -> Result<Ways, MachineError> {
    let taps = TapLink::by_name(name, pairs.into())?;
    let paths = by_kernel::paths(board, network, name, &taps, control);
    Ok((boxed(taps), paths))
}

fn own(tap: &OwnedFd) -> Result<OwnedFd, MachineError> {
    tap.try_clone().map_err(|source| MachineError::Tap {
        source: netio::TapError::Descriptor { source },
    })
}

fn read_rom(path: &Path) -> Result<OptionRom, MachineError> {
    let bytes = std::fs::read(path).map_err(|source| MachineError::Rom {
        path: path.to_owned(),
        source,
    })?;
    OptionRom::new(bytes).map_err(|source| MachineError::OptionRom {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
