//! A network card, from Python's frozen dataclasses.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use machine::{Forward, NetworkConfig, NetworkOptions, NetworkWay, Protocol, UserOptions};
use pyo3::prelude::*;

use crate::spec::unknown;

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
        let mac = mac(&self.mac).ok_or_else(|| unknown(py, "Ethernet address", &self.mac))?;
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
                ..UserOptions::default()
            }),
            ("tap", Some(interface)) => NetworkWay::Tap(interface),
            (other, _) => return Err(unknown(py, "network", other)),
        };
        Ok(NetworkConfig { mac, way })
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
