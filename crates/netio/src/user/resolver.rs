//! The host's resolver, as resolv.conf(5) names it now.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::user::policy::DNS;

const FILE: &str = "/etc/resolv.conf";
/// The file is read again after so long, if it is asked for.
const FRESH: Duration = Duration::from_secs(2);
/// Of those named. Spec: resolv.conf(5), MAXNS.
const MAX: usize = 3;
/// A longer file is not read to its end.
const MAX_LEN: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Resolver {
    servers: Vec<IpAddr>,
    read: Option<Instant>,
    current: usize,
}

impl Resolver {
    /// Who answers the guest's questions.
    pub(super) fn server(&mut self, now: Instant) -> Option<SocketAddr> {
        if self
            .read
            .is_none_or(|read| now.duration_since(read) > FRESH)
        {
            self.read = Some(now);
            // A file that cannot be read any more, as one that was replaced cannot in a jail, leaves
            // what was known.
            if let Ok(bytes) = fs::read(Path::new(FILE)) {
                self.servers = parse(&bytes);
            }
        }
        let index = self.current % self.servers.len().max(1);
        let server = self.servers.get(index)?;
        Some(SocketAddr::new(*server, DNS))
    }

    /// That one did not answer.
    pub(super) fn disappointed(&mut self) {
        self.current = (self.current + 1) % MAX.max(self.servers.len());
    }
}

fn parse(bytes: &[u8]) -> Vec<IpAddr> {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_LEN)]);
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let server = (words.next()? == "nameserver").then(|| words.next())??;
        // Addresses with a scope belong to one link, which nobody tells us to use.
        server.parse().ok()
    });
    servers.take(MAX).collect()
}

#[cfg(test)]
mod tests;
