//! The messages of a DHCP client. Spec: RFC 2131, RFC 2132.

use std::net::Ipv4Addr;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Bytes before the options, the cookie with them.
const FIXED: usize = 240;
/// Answer by broadcast: until it is configured, a kernel takes nothing else.
const BROADCAST: [u8; 2] = [0x80, 0];
/// What servers take for the shortest message. Spec: RFC 1542, "Client behaviour".
const MIN_LEN: usize = 300;

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;

/// What the options are asked for: mask, router, resolvers.
const WANTED: [u8; 5] = [55, 3, 1, 3, 6];

/// What a server lends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv4Addr,
    pub(crate) mask: Ipv4Addr,
    pub(crate) router: Option<Ipv4Addr>,
    pub(crate) resolvers: Vec<Ipv4Addr>,
    pub(crate) server: Ipv4Addr,
    pub(crate) seconds: u32,
}

/// A conversation: its number, and whose it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) number: [u8; 4],
    pub(crate) mac: [u8; 6],
}

/// A server's answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Offer(Lease),
    Granted(Lease),
    Refused,
}

impl Client {
    /// Who lends an address?
    pub(crate) fn discover(&self) -> Vec<u8> {
        self.message(DISCOVER, &[])
    }

    /// I take this one. Without `server`, from whoever lent it before.
    pub(crate) fn request(&self, lease: &Lease, from_server: bool) -> Vec<u8> {
        let mut options = vec![50, 4];
        options.extend(lease.address.octets());
        if from_server {
            options.extend([54, 4]);
            options.extend(lease.server.octets());
        }
        self.message(REQUEST, &options)
    }

    fn message(&self, kind: u8, options: &[u8]) -> Vec<u8> {
        let mut message = vec![1, 1, 6, 0];
        message.extend(self.number);
        message.extend([0, 0]);
        message.extend(BROADCAST);
        message.resize(28, 0);
        message.extend(self.mac);
        message.resize(FIXED - COOKIE.len(), 0);
        message.extend(COOKIE);
        message.extend([53, 1, kind]);
        message.extend(options);
        message.extend(WANTED);
        message.push(255);
        message.resize(message.len().max(MIN_LEN), 0);
        message
    }

    /// `None` for what is no answer to this client.
    pub(crate) fn parse(&self, message: &[u8]) -> Option<Answer> {
        let (fixed, options) = message.split_at_checked(FIXED)?;
        let is_ours = fixed[0] == 2
            && fixed[4..8] == self.number
            && fixed[28..34] == self.mac
            && fixed[236..] == COOKIE;
        if !is_ours {
            return None;
        }
        let lease = || {
            Some(Lease {
                address: address(&fixed[16..20])?,
                mask: option(options, 1).and_then(address)?,
                router: option(options, 3).and_then(address),
                resolvers: option(options, 6)?.chunks(4).filter_map(address).collect(),
                server: option(options, 54).and_then(address)?,
                seconds: u32::from_be_bytes(option(options, 51)?.try_into().ok()?),
            })
        };
        match *option(options, 53)?.first()? {
            OFFER => lease().map(Answer::Offer),
            ACK => lease().map(Answer::Granted),
            _ => Some(Answer::Refused),
        }
    }
}

/// The first address in a value.
fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?))
}

/// The value of an option.
fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        match *options.first()? {
            0 => options = &options[1..],
            255 => return None,
            code => {
                let len = usize::from(*options.get(1)?);
                let value = options.get(2..2 + len)?;
                if code == wanted {
                    return Some(value);
                }
                options = &options[2 + len..];
            }
        }
    }
}

#[cfg(test)]
mod tests;
