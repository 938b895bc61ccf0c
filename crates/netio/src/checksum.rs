//! The Internet checksum. Spec: RFC 1071.

/// A sum in the making.
#[derive(Debug, Clone, Copy, Default)]
pub struct Checksum {
    sum: u64,
}

impl Checksum {
    /// Adds bytes that begin at an even distance from the first.
    #[must_use]
    pub fn over(self, bytes: &[u8]) -> Checksum {
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum = self.sum;
        for word in words {
            // A sum of 2^32 words, which no packet has, would not fit.
            sum += u64::from(u32::from_be_bytes(*word));
        }
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        Checksum {
            sum: fold_once(sum + u64::from(u32::from_be_bytes(last))),
        }
    }

    /// Adds the pseudo-header of a transport packet of `len` bytes.
    /// Spec: RFC 9293, "Checksum"; RFC 8200, "Upper-Layer Checksums".
    #[must_use]
    pub fn pseudo(source: &[u8], destination: &[u8], protocol: u8, len: usize) -> Checksum {
        let len = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        Checksum::default()
            .over(source)
            .over(destination)
            .over(&len)
            .over(&[0, 0, 0, protocol])
    }

    /// Adds pieces of any lengths that lie one behind the other.
    #[must_use]
    pub fn over_parts(self, parts: &[&[u8]]) -> Checksum {
        let mut sum = self;
        let mut odd = false;
        for part in parts {
            let mut word = Checksum::default().over(part).folded();
            // One's complement addition does not mind on which end its bytes are.
            if odd {
                word = word.swap_bytes();
            }
            sum.sum += u64::from(word);
            odd ^= part.len() % 2 == 1;
        }
        sum
    }

    fn folded(self) -> u16 {
        let mut sum = self.sum;
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).unwrap_or(u16::MAX)
    }

    /// As it stands in a header.
    #[must_use]
    pub fn finish(self) -> u16 {
        !self.folded()
    }

    /// As a sender leaves it for an offload to go on from.
    #[must_use]
    pub fn partial(self) -> u16 {
        self.folded()
    }
}

fn fold_once(sum: u64) -> u64 {
    (sum & 0xffff_ffff) + (sum >> 32)
}

#[cfg(test)]
mod tests;
