//! Names of the guests of a network, for those in it. Spec: RFC 1035, "Messages".

use std::net::Ipv4Addr;

use crate::user::packet::word;

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;
/// Besides its bare name, a guest has one in this domain.
const DOMAIN: &str = "inn";
/// A name by reference: the one behind the header.
const QUESTION: [u8; 2] = [0xc0, 12];
/// Guests come and go.
const SECONDS: u32 = 5;
/// Response, recursion available; what was asked is kept of the rest.
const ANSWERS: [u8; 2] = [0x84, 0x80];

/// Answers a question for a guest's name. `None` for all others, which are the resolver's.
pub(super) fn answer(query: &[u8], find: impl FnOnce(&str) -> Option<Ipv4Addr>) -> Option<Vec<u8>> {
    let header = query.get(..HEADER)?;
    // A standard query with one question.
    if header[2] & 0xf8 != 0 || word(header, 4)? != 1 {
        return None;
    }
    let (name, end) = name(query)?;
    let (kind, class) = (word(query, end)?, word(query, end + 2)?);
    let address = find(&name).filter(|_| class == CLASS_IN)?;
    let mut answer = query[..2].to_vec();
    answer.extend([ANSWERS[0] | header[2] & 1, ANSWERS[1]]);
    let count = u8::from(kind == TYPE_A);
    answer.extend([0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(&query[HEADER..end + 4]);
    if kind == TYPE_A {
        // The name is where the question has it.
        answer.extend(QUESTION);
        answer.extend([0, 1, 0, 1]);
        answer.extend(SECONDS.to_be_bytes());
        answer.extend([0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// The guest's name in the question, in lower case, and where it ends.
fn name(query: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let len = usize::from(*query.get(at)?);
        at += 1;
        if len == 0 {
            break;
        }
        // A name of ours has at most two labels, none of them by reference.
        if len > 63 || labels.len() == 2 {
            return None;
        }
        let label = std::str::from_utf8(query.get(at..at + len)?).ok()?;
        labels.push(label.to_ascii_lowercase());
        at += len;
    }
    match labels.as_slice() {
        [name] => Some((name.clone(), at)),
        [name, domain] if domain == DOMAIN => Some((name.clone(), at)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
