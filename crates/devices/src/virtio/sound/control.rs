//! Requests of the control queue, and their answers.
//! Spec: VIRTIO 1.2, "Item Information Request", "PCM Control Messages".

use crate::virtio::{Chain, Nonsense, Ring};

use super::STREAMS;
use super::pcm::{self, Parameters};
use super::stream::{INPUT, OUTPUT, Stream};

const JACK_INFO: u32 = 0x0001;
const PCM_INFO: u32 = 0x0100;
const PCM_SET_PARAMS: u32 = 0x0101;
const PCM_PREPARE: u32 = 0x0102;
const PCM_RELEASE: u32 = 0x0103;
const PCM_START: u32 = 0x0104;
const PCM_STOP: u32 = 0x0105;
const CHMAP_INFO: u32 = 0x0200;

const STATUS_OK: u32 = 0x8000;
const STATUS_LEN: u64 = 4;
/// Bytes of `struct virtio_snd_pcm_set_params`, the longest request.
const LONGEST: usize = 24;
/// Bytes of `struct virtio_snd_pcm_info`.
const STREAM_INFO_LEN: usize = 32;

/// Why a request is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    BadMessage = 0x8001,
    NotSupported = 0x8002,
}

/// What a driver asks for: as much of it as there is.
struct Request {
    bytes: Vec<u8>,
}

/// Carries a request out, and answers how many bytes the answer has. `queues` are the streams'.
pub(super) fn answer(
    chain: &Chain,
    streams: &mut [Stream; STREAMS],
    queues: &mut [Ring],
    now: u64,
) -> Result<u32, Nonsense> {
    let request = Request::read(chain)?;
    let answer = match request.code() {
        // There are none of these.
        Ok(JACK_INFO | CHMAP_INFO) => request.items(&[], chain),
        Ok(PCM_INFO) => request.items(&[stream_info(OUTPUT), stream_info(INPUT)], chain),
        Ok(code @ PCM_SET_PARAMS..=PCM_STOP) => match request.stream() {
            Ok(index) => {
                let done = command(code, &request, &mut streams[index], &mut queues[index], now)?;
                done.map(|()| Vec::new())
            }
            Err(refusal) => Err(refusal),
        },
        Ok(_) => Err(Refusal::NotSupported),
        Err(refusal) => Err(refusal),
    };
    let (status, items) = match answer {
        Ok(items) => (STATUS_OK, items),
        Err(refusal) => (refusal as u32, Vec::new()),
    };
    let answer = [&status.to_le_bytes()[..], &items].concat();
    chain.write_at(0, &answer)?;
    Ok(u32::try_from(answer.len()).unwrap_or(u32::MAX))
}

fn command(
    code: u32,
    request: &Request,
    stream: &mut Stream,
    ring: &mut Ring,
    now: u64,
) -> Result<Result<(), Refusal>, Nonsense> {
    Ok(match code {
        PCM_SET_PARAMS => {
            let parameters = request.parameters();
            parameters.and_then(|parameters| stream.set_parameters(parameters))
        }
        PCM_PREPARE => stream.prepare(),
        PCM_RELEASE => stream.release(ring)?,
        PCM_START => stream.start(now),
        _ => stream.stop(),
    })
}

/// `struct virtio_snd_pcm_info`. All are of one function group and have no features.
fn stream_info(stream: u32) -> [u8; STREAM_INFO_LEN] {
    let mut info = [0; STREAM_INFO_LEN];
    info[8..16].copy_from_slice(&pcm::formats().to_le_bytes());
    info[16..24].copy_from_slice(&pcm::rates().to_le_bytes());
    // The direction, least and most channels.
    let [direction, ..] = stream.to_le_bytes();
    info[24..27].copy_from_slice(&[direction, 1, pcm::MOST_CHANNELS]);
    info
}

impl Request {
    fn read(chain: &Chain) -> Result<Request, Nonsense> {
        let len = usize::try_from(chain.readable_len()).map_or(LONGEST, |len| len.min(LONGEST));
        let mut bytes = vec![0; len];
        chain.read_at(0, &mut bytes)?;
        Ok(Request { bytes })
    }

    fn word(&self, at: usize) -> Result<u32, Refusal> {
        let word = self.bytes.get(at..).and_then(<[u8]>::first_chunk);
        word.map_or(Err(Refusal::BadMessage), |word| {
            Ok(u32::from_le_bytes(*word))
        })
    }

    fn code(&self) -> Result<u32, Refusal> {
        self.word(0)
    }

    /// The information that is asked for, of all that there is.
    fn items(&self, all: &[[u8; STREAM_INFO_LEN]], chain: &Chain) -> Result<Vec<u8>, Refusal> {
        let [start, count, size] =
            [self.word(4)?, self.word(8)?, self.word(12)?].map(|word| word as usize);
        let asked = start.checked_add(count).and_then(|end| all.get(start..end));
        let items = asked.ok_or(Refusal::BadMessage)?.concat();
        if !items.is_empty() && size != STREAM_INFO_LEN {
            return Err(Refusal::NotSupported);
        }
        if chain.writable_len() < STATUS_LEN + items.len() as u64 {
            return Err(Refusal::BadMessage);
        }
        Ok(items)
    }

    /// The index of the stream that it is about.
    fn stream(&self) -> Result<usize, Refusal> {
        let id = self.word(4)? as usize;
        if id < STREAMS {
            Ok(id)
        } else {
            Err(Refusal::BadMessage)
        }
    }

    fn parameters(&self) -> Result<Parameters, Refusal> {
        let [buffer, period, features] = [self.word(8)?, self.word(12)?, self.word(16)?];
        let [channels, format, rate, _] = self.word(20)?.to_le_bytes();
        if buffer.checked_rem(period) != Some(0) {
            return Err(Refusal::BadMessage);
        }
        let parameters = Parameters::new(channels, format, rate);
        parameters
            .filter(|_| features == 0)
            .ok_or(Refusal::NotSupported)
    }
}
