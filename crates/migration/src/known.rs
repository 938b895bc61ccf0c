//! What the target has already: of each page a hash of what was sent of it last.
//!
//! A page that was written but is as before is not sent, and one that another page of the target is like is
//! named by that one. The hash has 128 bits and no key: a guest that makes two pages of one hash
//! damages its own memory, which it could do more easily.

use std::collections::HashMap;

use twox_hash::XxHash3_128;

/// Pages that one can be found by. Which of several has no meaning.
const MOST: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Known {
    /// Of what each page was sent as last; `NEVER` until then.
    sent: Vec<u128>,
    pages: HashMap<u64, u32>,
}

const NEVER: u128 = 0;
/// Of a page of zeros: the target's memory begins as that.
const ZERO: u128 = 1;

/// How a page is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Not at all.
    Same,
    Zero,
    /// The target has another page that is like it.
    Like(u64),
    Data,
}

impl Known {
    #[must_use]
    pub(crate) fn new(pages: usize) -> Known {
        Known {
            sent: vec![NEVER; pages],
            pages: HashMap::new(),
        }
    }

    /// Page `number` is `bytes` now, and will be sent so.
    pub(crate) fn how(&mut self, number: u64, bytes: &[u8]) -> How {
        let Some(sent) = usize::try_from(number)
            .ok()
            .and_then(|number| self.sent.get_mut(number))
        else {
            return How::Data;
        };
        let before = *sent;
        if is_zero(bytes) {
            *sent = ZERO;
            return match before {
                NEVER | ZERO => How::Same,
                _ => How::Zero,
            };
        }
        // Beside the two that mean something else.
        let hash = XxHash3_128::oneshot(bytes) | 2;
        *sent = hash;
        if before == hash {
            return How::Same;
        }
        #[allow(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
        let short = hash as u64;
        let like = self.pages.get(&short).copied();
        if let Some(like) = like.filter(|like| u64::from(*like) != number)
            && self.sent.get(like as usize) == Some(&hash)
        {
            return How::Like(like.into());
        }
        if let (Ok(number), true) = (
            u32::try_from(number),
            self.pages.len() < MOST || like.is_some(),
        ) {
            self.pages.insert(short, number);
        }
        How::Data
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks_exact(16).all(|chunk| chunk == [0; 16])
}

#[cfg(test)]
mod tests;
