//! Where an NBD server is, as its URI says.
//! Spec: NetworkBlockDevice/nbd, doc/uri.md.

use std::path::PathBuf;

use crate::BlockError;

pub(super) const PORT: u16 = 10809;
/// Of the protocol: a longer name is refused by servers.
const MAX_NAME: usize = 4096;

/// A server and the name of what it exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NbdAddress {
    Tcp {
        host: String,
        port: u16,
        export: String,
    },
    Unix {
        socket: PathBuf,
        export: String,
    },
}

impl NbdAddress {
    /// Is this a URI rather than a path?
    #[must_use]
    pub fn is_uri(text: &str) -> bool {
        text.starts_with("nbd://") || text.starts_with("nbd+unix://")
    }

    /// `nbd://host[:port]/export` or `nbd+unix:///export?socket=PATH`; without an export, the
    /// server's default.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(uri: &str) -> Result<NbdAddress, BlockError> {
        let wrong = |what: &str| BlockError::NbdAddress {
            uri: uri.to_owned(),
            what: what.to_owned(),
        };
        if let Some(rest) = uri.strip_prefix("nbd+unix://") {
            let (export, query) = rest
                .split_once('?')
                .ok_or_else(|| wrong("it has no socket="))?;
            let socket = query
                .split('&')
                .find_map(|pair| pair.strip_prefix("socket="));
            let socket = socket.filter(|it| !it.is_empty());
            let socket = decode(socket.ok_or_else(|| wrong("it has no socket="))?);
            let socket = socket.ok_or_else(|| wrong("a % in it is followed by no number"))?;
            return Ok(NbdAddress::Unix {
                socket: PathBuf::from(socket),
                export: export_of(export).ok_or_else(|| wrong("its export's name is none"))?,
            });
        }
        let rest = uri.strip_prefix("nbd://");
        let rest = rest.ok_or_else(|| wrong("it begins with neither nbd:// nor nbd+unix://"))?;
        let (authority, export) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = split_port(authority).ok_or_else(|| wrong("its port is no number"))?;
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        Ok(NbdAddress::Tcp {
            host: host.to_owned(),
            port,
            export: export_of(export).ok_or_else(|| wrong("its export's name is none"))?,
        })
    }

    #[must_use]
    pub fn export(&self) -> &str {
        match self {
            NbdAddress::Tcp { export, .. } | NbdAddress::Unix { export, .. } => export,
        }
    }
}

/// `host`, `host:port`, `[::1]` or `[::1]:port`.
fn split_port(authority: &str) -> Option<(&str, u16)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            None if after.is_empty() => Some((host, PORT)),
            None => None,
            Some(port) => Some((host, port.parse().ok()?)),
        };
    }
    match authority.rsplit_once(':') {
        None => Some((authority, PORT)),
        Some((host, port)) => Some((host, port.parse().ok()?)),
    }
}

fn export_of(path: &str) -> Option<String> {
    let path = path.split('?').next().unwrap_or_default();
    let name = decode(path.strip_prefix('/').unwrap_or(path))?;
    (name.len() <= MAX_NAME && !name.contains('\0')).then_some(name)
}

/// Without %XX.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}
