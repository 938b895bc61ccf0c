//! One block request: header, data, status.
//! Spec: VIRTIO 1.2, "Block Device", "Device Operation".

use std::io;
use std::sync::Arc;
use std::time::Duration;

use block::{BlockDevice, SECTOR_SIZE};
use memory::GuestMemory;

use crate::virtio::block::{MAX_RANGE_SECTORS, MAX_RANGES, NoRoom, SERIAL_LEN};
use crate::virtio::interrupts::Interrupts;
use crate::virtio::{Chain, Next, Nonsense, QueueState, RateGate, Ring};
use crate::{Line, MsiSink};

const HEADER_LEN: usize = 16;
/// Where data begins in the readable part.
const DATA: u64 = HEADER_LEN as u64;
/// Bytes of a range of a discard or zeroing.
const RANGE_LEN: usize = 16;

const TYPE_IN: u32 = 0;
const TYPE_OUT: u32 = 1;
const TYPE_FLUSH: u32 = 4;
const TYPE_GET_ID: u32 = 8;
const TYPE_DISCARD: u32 = 11;
const TYPE_WRITE_ZEROES: u32 = 13;

const STATUS_OK: u8 = 0;
const STATUS_IO_ERROR: u8 = 1;
const STATUS_UNSUPPORTED: u8 = 2;

/// Of a zeroing range: its storage may be given back. The only flag there is.
const FLAG_UNMAP: u32 = 1;

/// Data goes through a buffer of this many bytes: small enough to stay in the processor's cache,
/// large enough that the host's file calls are few. Rejected: reading straight into guest memory,
/// which saves a copy at cache speed and costs unsafe code over memory that the guest changes.
const BOUNCE: usize = 128 << 10;
/// The longest transfer, so that one request cannot keep the device from pausing. Bytes.
const MAX_TRANSFER: u64 = 64 << 20;

/// What requests are served with.
#[derive(Debug)]
pub struct RequestContext {
    disk: Arc<dyn BlockDevice>,
    serial: [u8; SERIAL_LEN],
    bounce: Vec<u8>,
    write_through: bool,
    gate: RateGate,
    no_room: Option<Arc<dyn NoRoom>>,
}

impl RequestContext {
    #[must_use]
    pub fn new(disk: Arc<dyn BlockDevice>, serial: [u8; SERIAL_LEN]) -> RequestContext {
        RequestContext {
            disk,
            serial,
            bounce: Vec::new(),
            write_through: false,
            gate: RateGate::default(),
            no_room: None,
        }
    }

    /// A write for which the host has no room is kept, and told to `no_room`.
    #[must_use]
    pub(super) fn keeping(mut self, no_room: Option<Arc<dyn NoRoom>>) -> RequestContext {
        self.no_room = no_room;
        self
    }

    /// What requests move is counted there.
    #[must_use]
    pub(super) fn through(mut self, gate: RateGate) -> RequestContext {
        self.gate = gate;
        self
    }

    pub(super) fn gate(&self) -> &RateGate {
        &self.gate
    }

    pub(super) fn set_write_through(&mut self, on: bool) {
        self.write_through = on;
    }
}

/// Reads of so many bytes at most are served by the vCPU that asks for them, if they need not wait
/// for storage: copying them takes less time than waking another thread. Longer ones are worth a
/// thread, beside which the guest may go on.
const QUICK: u64 = 32 << 10;

/// When a request that the host had no room for is tried again, unless the guest stands still by then, as it should.
const AGAIN: Duration = Duration::from_secs(1);

/// How a request ended, short of [`STATUS_OK`].
enum Failed {
    Status(u8),
    /// The host has no room for what is to be written.
    Full,
    Driver(Nonsense),
}

impl From<Nonsense> for Failed {
    fn from(nonsense: Nonsense) -> Failed {
        Failed::Driver(nonsense)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        // Not of a sync, by which a kernel forgets what it could not write: a second one would say that all is well.
        match block::lacks_room(error.kind()) {
            true => Failed::Full,
            // The guest learns no more than this; its driver names the sector.
            false => Failed::Status(STATUS_IO_ERROR),
        }
    }
}

struct Header {
    kind: u32,
    sector: u64,
}

/// Serves one request and writes its status byte. Answers how many bytes were written; or, of a request that is kept since
/// the host has no room, when to try all of it again: what was done of it is then done twice, to the same end.
///
/// # Errors
/// When the chain has no room for header or status: then nothing can be said of the request.
pub fn process_request(
    context: &mut RequestContext,
    chain: &Chain,
) -> Result<Result<u32, Duration>, Nonsense> {
    let (header, data_len) = parse(chain)?;
    let (status, written) = match run(context, chain, &header, data_len) {
        Ok(written) => (STATUS_OK, written),
        Err(Failed::Status(status)) => (status, 0),
        Err(Failed::Full) if context.no_room.as_ref().is_some_and(|it| it.stop()) => {
            return Ok(Err(AGAIN));
        }
        Err(Failed::Full) => (STATUS_IO_ERROR, 0),
        Err(Failed::Driver(nonsense)) => return Err(nonsense),
    };
    chain.write_at(data_len, &[status])?;
    Ok(Ok(u32::try_from(written + 1).unwrap_or(u32::MAX)))
}

/// Likewise for a request that takes no time: a short read of what the host has in memory. `None`
/// for any other, which is then as if it had not been looked at.
///
/// # Errors
/// As [`process_request`].
pub(super) fn process_now(
    context: &mut RequestContext,
    chain: &Chain,
) -> Result<Option<u32>, Nonsense> {
    let (header, len) = parse(chain)?;
    if header.kind != TYPE_IN || len > QUICK {
        return Ok(None);
    }
    let Ok(start) = start_of(&*context.disk, header.sector, len) else {
        return Ok(None);
    };
    context.bounce.resize(BOUNCE, 0);
    let buffer = &mut context.bounce[..piece_of(len)];
    let Ok(true) = context.disk.read_now(buffer, start) else {
        return Ok(None);
    };
    chain.write_at(0, buffer)?;
    chain.write_at(len, &[STATUS_OK])?;
    Ok(Some(u32::try_from(len + 1).unwrap_or(u32::MAX)))
}

/// Serves the requests of `ring`, as far as the context's gate lets them pass.
///
/// # Errors
/// When the driver has broken the protocol.
pub(super) fn serve(ring: &mut Ring, context: &mut RequestContext) -> Result<Next, Nonsense> {
    let gate = context.gate.clone();
    ring.drain_until(&gate, |chain| {
        gate.spend(data_len(chain));
        process_request(context, chain)
    })
}

/// Bytes that a request moves, in whichever direction.
fn data_len(chain: &Chain) -> u64 {
    (chain.readable_len() + chain.writable_len()).saturating_sub(DATA + 1)
}

/// A request's header, and the bytes of data that the device may write.
fn parse(chain: &Chain) -> Result<(Header, u64), Nonsense> {
    let mut bytes = [0; HEADER_LEN];
    chain.read_at(0, &mut bytes)?;
    let [a, b, c, d, _, _, _, _, sector @ ..] = bytes;
    let header = Header {
        kind: u32::from_le_bytes([a, b, c, d]),
        sector: u64::from_le_bytes(sector),
    };
    // The status is the last byte, however the driver cut its buffers.
    let data_len = chain.writable_len().checked_sub(1).ok_or(Nonsense::Short)?;
    Ok((header, data_len))
}

/// Answers how many data bytes were written to the guest.
fn run(
    context: &mut RequestContext,
    chain: &Chain,
    header: &Header,
    data_len: u64,
) -> Result<u64, Failed> {
    match header.kind {
        TYPE_IN => read(context, chain, header.sector, data_len),
        TYPE_OUT => {
            write(context, chain, header.sector)?;
            finish_write(context)
        }
        TYPE_FLUSH => {
            context.disk.flush()?;
            Ok(0)
        }
        TYPE_GET_ID => {
            let len = data_len.min(SERIAL_LEN as u64);
            chain.write_at(0, &context.serial[..usize::try_from(len).unwrap_or(0)])?;
            Ok(len)
        }
        TYPE_DISCARD | TYPE_WRITE_ZEROES => {
            change_range(context, chain, header.kind)?;
            finish_write(context)
        }
        _ => Err(Failed::Status(STATUS_UNSUPPORTED)),
    }
}

fn finish_write(context: &RequestContext) -> Result<u64, Failed> {
    if context.write_through {
        context.disk.flush()?;
    }
    Ok(0)
}

/// The transfer's first byte on the disk, if the whole transfer lies on it.
fn start_of(disk: &dyn BlockDevice, sector: u64, len: u64) -> Result<u64, Failed> {
    let refused = Failed::Status(STATUS_IO_ERROR);
    if !len.is_multiple_of(SECTOR_SIZE) || len > MAX_TRANSFER {
        return Err(refused);
    }
    let start = sector.checked_mul(SECTOR_SIZE).ok_or(refused)?;
    block::check_range(disk.len(), start, len)?;
    Ok(start)
}

fn read(context: &mut RequestContext, chain: &Chain, sector: u64, len: u64) -> Result<u64, Failed> {
    let start = start_of(&*context.disk, sector, len)?;
    context.bounce.resize(BOUNCE, 0);
    let mut done = 0;
    while done < len {
        let piece = piece_of(len - done);
        let buffer = &mut context.bounce[..piece];
        context.disk.read_at(buffer, start + done)?;
        chain.write_at(done, buffer)?;
        done += piece as u64;
    }
    Ok(len)
}

fn write(context: &mut RequestContext, chain: &Chain, sector: u64) -> Result<(), Failed> {
    let len = chain.readable_len() - DATA;
    let start = start_of(&*context.disk, sector, len)?;
    context.bounce.resize(BOUNCE, 0);
    let mut done = 0;
    while done < len {
        let piece = piece_of(len - done);
        let buffer = &mut context.bounce[..piece];
        chain.read_at(DATA + done, buffer)?;
        context.disk.write_at(buffer, start + done)?;
        done += piece as u64;
    }
    Ok(())
}

fn piece_of(len: u64) -> usize {
    usize::try_from(len).map_or(BOUNCE, |len| len.min(BOUNCE))
}

fn change_range(context: &RequestContext, chain: &Chain, kind: u32) -> Result<(), Failed> {
    let len = chain.readable_len() - DATA;
    let step = RANGE_LEN as u64;
    if len == 0 || !len.is_multiple_of(step) || len > step * u64::from(MAX_RANGES) {
        return Err(Failed::Status(STATUS_IO_ERROR));
    }
    for index in 0..len / step {
        let mut range = [0; RANGE_LEN];
        chain.read_at(DATA + index * step, &mut range)?;
        let [sector @ .., c0, c1, c2, c3, f0, f1, f2, f3] = range;
        let sector = u64::from_le_bytes(sector);
        let sectors = u32::from_le_bytes([c0, c1, c2, c3]);
        let flags = u32::from_le_bytes([f0, f1, f2, f3]);
        let known = if kind == TYPE_WRITE_ZEROES {
            FLAG_UNMAP
        } else {
            0
        };
        if flags & !known != 0 {
            return Err(Failed::Status(STATUS_UNSUPPORTED));
        }
        let start = sector.checked_mul(SECTOR_SIZE);
        let start = start.filter(|_| sectors <= MAX_RANGE_SECTORS);
        let start = start.ok_or(Failed::Status(STATUS_IO_ERROR))?;
        let len = u64::from(sectors) * SECTOR_SIZE;
        if kind == TYPE_DISCARD {
            context.disk.discard(start, len)?;
        } else {
            let unmap = flags & FLAG_UNMAP != 0;
            // A host that cannot do it otherwise writes them all.
            context.gate.spend_more(len);
            context.disk.write_zeroes(start, len, unmap)?;
        }
    }
    Ok(())
}

/// Serves whatever a prepared guest memory holds as a request queue of `disk`, up to its last
/// request or the first nonsense. For fuzzing: no thread, no registers, no interrupts.
///
/// # Errors
/// When the queue or a chain is nonsense.
pub fn serve_prepared(
    memory: &GuestMemory,
    queue: &QueueState,
    disk: Arc<dyn BlockDevice>,
) -> Result<(), Nonsense> {
    #[derive(Debug)]
    struct Nobody;
    impl MsiSink for Nobody {
        fn send(&self, _address: u64, _data: u32) {}
    }
    impl Line for Nobody {
        fn set(&self, _high: bool) {}
    }
    let sink: Arc<dyn MsiSink> = Arc::new(Nobody);
    let interrupts = Arc::new(Interrupts::new(1, sink, Arc::new(Nobody)));
    let mut ring = Ring::new(0, super::QUEUE_SIZE, memory.clone(), interrupts);
    ring.enable(queue, false)?;
    let mut context = RequestContext::new(disk, [0; SERIAL_LEN]);
    // The driver's index is 16 bits: so many requests at most, were each to refill the ring.
    for _ in 0..=u16::MAX {
        let left = ring.drain_now(|chain| process_now(&mut context, chain))?;
        if left == Next::Wait || serve(&mut ring, &mut context)? == Next::Wait {
            break;
        }
    }
    Ok(())
}
