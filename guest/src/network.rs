//! The guest's network card: an address by DHCP, renewed for as long as the guest lives. IPv6 is the
//! kernel's own business. A guest without a card, or without a server, boots as well.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::dhcp::{Answer, Client, Lease};
use crate::errand::in_thread;
use crate::sys_raw;

const INTERFACES: &str = "/sys/class/net";
const VIRTIO_DEVICES: &str = "/sys/bus/virtio/devices";
/// As the kernel writes the device type of a network card.
const VIRTIO_NET: &str = "0x0001";
/// As it writes the type of an Ethernet interface.
const ETHERNET: &str = "1";
const MODPROBE: &str = "/sbin/modprobe";
const RESOLVERS: &str = "/etc/resolv.conf";

/// The guest is not called ready before it has an address, or this has passed.
const PATIENCE: Duration = Duration::from_secs(1);
/// For one answer of a server. Doubled with each that does not come, up to a minute.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(64);

/// Whoever keeps the card configured.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    again: Sender<Sender<()>>,
}

impl Network {
    /// A lease of its own for what has become another card; waits a little for it.
    pub(crate) fn begin_anew(&self) {
        let (tell, told) = channel();
        if self.again.send(tell).is_ok() {
            let _ = told.recv_timeout(PATIENCE);
        }
    }
}

/// Configures the first card in the background; waits a little for it. `None` without a card.
pub(crate) fn start() -> Option<Network> {
    let name = interface()?;
    let (again, asked) = channel();
    in_thread("network", move || stay_configured(&name, &asked)).ok()?;
    let network = Network { again };
    network.begin_anew();
    Some(network)
}

/// Gives the card whose address is `old` another one. Taking it down for that lets everybody who cares for
/// its configuration begin anew, the kernel's IPv6 first of all.
pub(crate) fn readdress(old: [u8; 6], new: [u8; 6]) -> io::Result<()> {
    let names = fs::read_dir(INTERFACES)?.flatten();
    let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let name = names
        .find(|name| mac_of(name).is_ok_and(|mac| mac == old))
        .ok_or(io::Error::from_raw_os_error(libc::ENODEV))?;
    sys_raw::interface_down(&name)?;
    let changed = sys_raw::set_hardware_address(&name, new);
    sys_raw::interface_up(&name)?;
    changed
}

/// The name of the first Ethernet card. An image's initrd may lack the driver of virtio's.
fn interface() -> Option<String> {
    if let Some(found) = find_interface() {
        return Some(found);
    }
    let devices = fs::read_dir(VIRTIO_DEVICES).ok()?;
    let has_card = devices
        .flatten()
        .any(|device| holds(&device.path().join("device"), VIRTIO_NET));
    if !has_card {
        return None;
    }
    let modprobe = Command::new(MODPROBE).args(["-q", "virtio_net"]).status();
    modprobe.ok().and_then(|_| find_interface())
}

fn find_interface() -> Option<String> {
    let all = fs::read_dir(INTERFACES).ok()?.flatten();
    let cards = all.filter(|entry| {
        let path = entry.path();
        path.join("device").exists() && holds(&path.join("type"), ETHERNET)
    });
    cards
        .filter_map(|card| card.file_name().into_string().ok())
        .min()
}

fn holds(file: &Path, wanted: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.trim() == wanted)
}

/// The first lease is that of who asks first.
fn stay_configured(name: &str, asked: &Receiver<Sender<()>>) {
    let mut lease = None;
    let mut wait = FIRST_WAIT;
    let mut asking = asked.recv().ok();
    loop {
        let pause = match obtain(name, lease.as_ref(), wait) {
            Ok(granted) => {
                if let Some(tell) = asking.take() {
                    let _ = tell.send(());
                }
                wait = FIRST_WAIT;
                let seconds = (granted.seconds / 2).max(30).into();
                lease = Some(granted);
                // Half of the time is left to hear of it. Spec: RFC 2131, "Reacquisition".
                Duration::from_secs(seconds)
            }
            Err(_) => {
                lease = None;
                let pause = wait;
                wait = (wait * 2).min(LONGEST_WAIT);
                pause
            }
        };
        match asked.recv_timeout(pause) {
            Ok(tell) => {
                asking = Some(tell);
                lease = None;
                wait = FIRST_WAIT;
            }
            Err(RecvTimeoutError::Timeout) => {}
            // The agent is ending.
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Gets a lease, the same as before if there was one, and puts it into effect.
fn obtain(name: &str, before: Option<&Lease>, wait: Duration) -> io::Result<Lease> {
    sys_raw::interface_up(name)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68))?;
    socket.set_broadcast(true)?;
    sys_raw::bind_to_interface(&socket, name)?;
    let client = Client {
        number: random_number()?,
        mac: mac_of(name)?,
    };
    let request = match before {
        Some(lease) => client.request(lease, false),
        None => match ask(&socket, &client, &client.discover(), wait)? {
            Answer::Offer(offer) => client.request(&offer, true),
            _ => return Err(io::ErrorKind::PermissionDenied.into()),
        },
    };
    match ask(&socket, &client, &request, wait)? {
        Answer::Granted(lease) => {
            if before != Some(&lease) {
                apply(name, &lease)?;
            }
            Ok(lease)
        }
        _ => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// Sends a message to all servers and waits for an answer to it.
fn ask(socket: &UdpSocket, client: &Client, message: &[u8], wait: Duration) -> io::Result<Answer> {
    socket.send_to(message, (Ipv4Addr::BROADCAST, 67))?;
    let deadline = Instant::now() + wait;
    let mut buffer = [0; 1500];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let (len, _) = socket.recv_from(&mut buffer)?;
        if let Some(answer) = client.parse(&buffer[..len]) {
            return Ok(answer);
        }
    }
}

fn apply(name: &str, lease: &Lease) -> io::Result<()> {
    sys_raw::set_address(name, lease.address, lease.mask)?;
    if let Some(router) = lease.router {
        sys_raw::add_default_route(router)?;
    }
    let lines = lease.resolvers.iter();
    let text: String = lines.map(|it| format!("nameserver {it}\n")).collect();
    // Through a link it would be somebody else's, who has his own ways to be told.
    if !text.is_empty() && !Path::new(RESOLVERS).is_symlink() {
        fs::write(RESOLVERS, text)?;
    }
    Ok(())
}

fn random_number() -> io::Result<[u8; 4]> {
    let mut number = [0; 4];
    io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut number)?;
    Ok(number)
}

fn mac_of(name: &str) -> io::Result<[u8; 6]> {
    let text = fs::read_to_string(format!("{INTERFACES}/{name}/address"))?;
    let bytes = text
        .trim()
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16));
    let bytes: Result<Vec<u8>, _> = bytes.collect();
    bytes
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}
