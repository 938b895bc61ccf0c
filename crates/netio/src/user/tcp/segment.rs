//! A TCP segment of the guest. Spec: RFC 9293, "Header Format"; RFC 7323, "Window Scale Option".

use crate::user::packet::word;

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;

/// What a host assumes that was told of no maximum segment size.
const DEFAULT_MSS: u16 = 536;
const MAX_SCALE: u8 = 14;

#[derive(Debug)]
pub(in crate::user) struct Segment<'a> {
    pub(in crate::user) source: u16,
    pub(in crate::user) destination: u16,
    pub(super) sequence: u32,
    pub(super) acknowledged: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    options: &'a [u8],
    pub(super) data: &'a [u8],
}

impl<'a> Segment<'a> {
    pub(in crate::user) fn parse(bytes: &'a [u8]) -> Option<Segment<'a>> {
        let header: &[u8; 20] = bytes.first_chunk()?;
        let len = 4 * usize::from(header[12] >> 4);
        let data = bytes.get(len..)?;
        let options = bytes.get(header.len()..len)?;
        let number = |at: usize| -> Option<u32> {
            Some(u32::from_be_bytes(*header.get(at..)?.first_chunk()?))
        };
        Some(Segment {
            source: word(header, 0)?,
            destination: word(header, 2)?,
            sequence: number(4)?,
            acknowledged: number(8)?,
            flags: header[13] & 0x3f,
            window: word(header, 14)?,
            options,
            data,
        })
    }

    pub(super) fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// In sequence numbers.
    pub(super) fn len(&self) -> u32 {
        let marks = u32::from(self.has(SYN)) + u32::from(self.has(FIN));
        u32::try_from(self.data.len()).unwrap_or(0) + marks
    }

    fn option(&self, wanted: u8) -> Option<&'a [u8]> {
        let mut rest = self.options;
        loop {
            match *rest.first()? {
                0 => return None,
                1 => rest = &rest[1..],
                kind => {
                    let len = usize::from(*rest.get(1)?);
                    let value = rest.get(2..len)?;
                    if kind == wanted {
                        return Some(value);
                    }
                    rest = &rest[len..];
                }
            }
        }
    }

    pub(super) fn mss(&self) -> u16 {
        let value = self.option(2).and_then(|value| word(value, 0));
        // Less would make more headers than data.
        value.unwrap_or(DEFAULT_MSS).max(64)
    }

    pub(super) fn scale(&self) -> Option<u8> {
        Some((*self.option(3)?.first()?).min(MAX_SCALE))
    }
}
