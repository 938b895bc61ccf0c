//! What the driver asks, and is answered. Spec: VIRTIO 1.2, "Memory Device", "Device Operation".

use crate::virtio::{Chain, Nonsense};

const PLUG: u16 = 0;
const UNPLUG: u16 = 1;
const UNPLUG_ALL: u16 = 2;
const STATE: u16 = 3;

/// Bytes of `struct virtio_mem_req`, and of its answer.
const LEN: usize = 24;
const ANSWER_LEN: u32 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Plug(Span),
    Unplug(Span),
    UnplugAll,
    State(Span),
    Unknown,
}

/// Where it begins, guest-physical, and how many blocks it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) address: u64,
    pub(super) blocks: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    /// Done, and this is the state that was asked for.
    State(u16),
    /// Not what the host wants now.
    Refused,
    /// Not now.
    Busy,
    Wrong,
}

pub(super) fn read(chain: &Chain) -> Result<Request, Nonsense> {
    let mut bytes = [0; LEN];
    chain.read_at(0, &mut bytes)?;
    let [low, high, _, _, _, _, _, _, rest @ ..] = bytes;
    let (address, rest) = rest.split_first_chunk().ok_or(Nonsense::Short)?;
    let (blocks, _) = rest.split_first_chunk().ok_or(Nonsense::Short)?;
    let span = Span {
        address: u64::from_le_bytes(*address),
        blocks: u16::from_le_bytes(*blocks),
    };
    Ok(match u16::from_le_bytes([low, high]) {
        PLUG => Request::Plug(span),
        UNPLUG => Request::Unplug(span),
        UNPLUG_ALL => Request::UnplugAll,
        STATE => Request::State(span),
        _ => Request::Unknown,
    })
}

/// Answers how many bytes that were.
pub(super) fn write(chain: &Chain, answer: Answer) -> Result<u32, Nonsense> {
    let (kind, state) = match answer {
        Answer::Done => (0u16, 0u16),
        Answer::State(state) => (0, state),
        Answer::Refused => (1, 0),
        Answer::Busy => (2, 0),
        Answer::Wrong => (3, 0),
    };
    chain.write_at(0, &kind.to_le_bytes())?;
    chain.write_at(2, &[0; 6])?;
    chain.write_at(8, &state.to_le_bytes())?;
    Ok(ANSWER_LEN)
}
