//! A network card, from Python's frozen dataclasses.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use machine::{
    Action, BridgeOptions, Direction, Forward, NetworkBoot, NetworkConfig, NetworkModel,
    NetworkOptions, NetworkWay, Peers, Protocol, Rule, Rules, Subnet, Transport, UserOptions,
};
use pyo3::prelude::*;

use crate::errors::raise;
use crate::spec::unknown;

/// The id of the network card that a guest is made with.
const FIRST: &str = "net0";

/// `innkeeper.machine.network.NetworkSpec`.
#[derive(Debug, FromPyObject)]
pub(crate) struct NetworkSpec {
    kind: String,
    mac: String,
    reach_host: bool,
    isolated: bool,
    ports: Vec<PortSpec>,
    interface: Option<String>,
    directory: Option<PathBuf>,
    member: String,
    bridge: Option<BridgeSpec>,
    firewall: FirewallSpec,
    id: String,
    slot: Option<u8>,
    gone: bool,
    model: String,
    rom: Option<PathBuf>,
    tftp: Option<PathBuf>,
    bootfile: String,
}

/// `innkeeper.machine.firewall.FirewallSpec`.
#[derive(Debug, FromPyObject)]
pub(crate) struct FirewallSpec {
    into: String,
    out: String,
    rules: Vec<RuleSpec>,
}

/// `innkeeper.machine.firewall.RuleSpec`.
#[derive(Debug, FromPyObject)]
struct RuleSpec {
    direction: String,
    action: String,
    protocol: Option<String>,
    address: Option<IpAddr>,
    bits: u8,
    ports: Option<(u16, u16)>,
}

/// `innkeeper.machine.network.BridgeSpec`.
#[derive(Debug, FromPyObject)]
struct BridgeSpec {
    ipv4: IpAddr,
    ipv6: IpAddr,
}

/// `innkeeper.machine.network.PortSpec`.
#[derive(Debug, FromPyObject)]
struct PortSpec {
    protocol: String,
    host: IpAddr,
    host_port: u16,
    guest_port: u16,
}

impl NetworkSpec {
    pub(crate) fn into_config(self, py: Python<'_>) -> PyResult<NetworkConfig> {
        let (slot, gone) = (self.slot, self.gone);
        let id = if self.id.is_empty() {
            FIRST.to_owned()
        } else {
            self.id
        };
        let mac = mac(&self.mac).ok_or_else(|| unknown(py, "Ethernet address", &self.mac))?;
        let model = match self.model.as_str() {
            "virtio" => NetworkModel::Virtio,
            "e1000" => NetworkModel::E1000,
            "rtl8139" => NetworkModel::Rtl8139,
            other => return Err(unknown(py, "network card", other)),
        };
        let rules = self.firewall.into_rules(py)?;
        let rom = self.rom.clone();
        let card = |way| NetworkConfig {
            mac,
            way,
            model,
            rom,
            rules,
            id,
            slot,
            gone,
            traffic: Arc::default(),
        };
        if let Some(bridge) = self.bridge {
            let (IpAddr::V4(ipv4), IpAddr::V6(ipv6)) = (bridge.ipv4, bridge.ipv6) else {
                return Err(unknown(py, "address of a guest", &bridge.ipv4.to_string()));
            };
            let [a, b, c, last] = ipv4.octets();
            let options = BridgeOptions {
                directory: self.directory.unwrap_or_default(),
                name: self.member,
                mac,
                subnet: Subnet {
                    v4: [a, b, c],
                    v6: ipv6,
                },
                last,
                isolated: self.isolated,
            };
            // Its queues come with the wiring.
            let way = NetworkWay::Bridge(options, Vec::new());
            return Ok(card(way));
        }
        let ports = self.ports.into_iter().map(|port| port.into_forward(py));
        let network = self.directory.map(|directory| NetworkOptions {
            directory,
            name: self.member,
            mac,
        });
        let way = match (self.kind.as_str(), self.interface) {
            ("user" | "shared", None) => NetworkWay::User(UserOptions {
                forwards: ports.collect::<PyResult<_>>()?,
                reach_host: self.reach_host,
                isolated: self.isolated,
                network,
                boot: (self.tftp.is_some() || !self.bootfile.is_empty()).then_some(NetworkBoot {
                    directory: self.tftp,
                    file: self.bootfile,
                }),
                ..UserOptions::default()
            }),
            ("tap", Some(interface)) => NetworkWay::Tap(interface),
            (other, _) => return Err(unknown(py, "network", other)),
        };
        Ok(card(way))
    }
}

/// Takes the address of a guest on a bridge: its last part.
#[pyfunction]
pub(crate) fn take_lease(
    py: Python<'_>,
    directory: PathBuf,
    name: &str,
    address: &str,
    present: Vec<String>,
) -> PyResult<u8> {
    let mac = mac(address).ok_or_else(|| unknown(py, "Ethernet address", address))?;
    machine::lease(&directory, name, mac, &present).map_err(|error| {
        let what = format!("no address for the guest {name} in its network: {error}");
        raise(py, "HostFailure", (what,))
    })
}

impl FirewallSpec {
    pub(crate) fn into_rules(self, py: Python<'_>) -> PyResult<Rules> {
        let rules = self.rules.into_iter().map(|rule| rule.into_rule(py));
        Ok(Rules {
            into: action(py, &self.into)?,
            out: action(py, &self.out)?,
            rules: rules.collect::<PyResult<_>>()?,
        })
    }
}

impl RuleSpec {
    fn into_rule(self, py: Python<'_>) -> PyResult<Rule> {
        let transport = match self.protocol.as_deref() {
            None => None,
            Some("tcp") => Some(Transport::Tcp),
            Some("udp") => Some(Transport::Udp),
            Some("icmp") => Some(Transport::Icmp),
            Some(other) => return Err(unknown(py, "protocol", other)),
        };
        let bits = self.bits;
        Ok(Rule {
            direction: match self.direction.as_str() {
                "in" => Direction::In,
                "out" => Direction::Out,
                other => return Err(unknown(py, "direction", other)),
            },
            action: action(py, &self.action)?,
            transport,
            peers: self.address.map(|address| Peers { address, bits }),
            ports: self.ports,
        })
    }
}

fn action(py: Python<'_>, name: &str) -> PyResult<Action> {
    match name {
        "accept" => Ok(Action::Accept),
        "drop" => Ok(Action::Drop),
        "reject" => Ok(Action::Reject),
        other => Err(unknown(py, "action", other)),
    }
}

impl PortSpec {
    fn into_forward(self, py: Python<'_>) -> PyResult<Forward> {
        let protocol = match self.protocol.as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => return Err(unknown(py, "protocol", other)),
        };
        Ok(Forward {
            protocol,
            host: SocketAddr::new(self.host, self.host_port),
            guest_port: self.guest_port,
        })
    }
}

/// Six bytes in hexadecimal, with colons.
fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16));
    bytes.collect::<Result<Vec<u8>, _>>().ok()?.try_into().ok()
}
