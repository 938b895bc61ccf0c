//! Reading and writing the namespace. Spec: NVM Express 1.4, "NVM Command Set".

use std::time::{Duration, Instant};

use block::SECTOR_SIZE;

use super::command::{Answer, Command, Status};
use super::prp::{self, MOST_DATA};
use super::{Nvme, PAIRS};

const FLUSH: u8 = 0x00;
const WRITE: u8 = 0x01;
const READ: u8 = 0x02;
const WRITE_ZEROES: u8 = 0x08;
const DATASET_MANAGEMENT: u8 = 0x09;

pub(super) const NAMESPACE: u32 = 1;
const ALL_NAMESPACES: u32 = u32::MAX;
/// In doubleword 12: it is on stable storage before it is answered.
const FORCE_UNIT_ACCESS: u32 = 1 << 30;
/// In doubleword 12 of zeroing: storage may be given back.
const DEALLOCATE: u32 = 1 << 25;
/// In doubleword 11 of dataset management: the content does not matter any more.
const DISCARD: u32 = 1 << 2;
const RANGE_LEN: usize = 16;
/// After so long the driver is to see its answers before more is done: it rings for them, and that, or an alarm,
/// goes on with the rest. So a doorbell takes its vCPU for as long, and one command.
const PATIENCE: Duration = Duration::from_millis(50);

impl Nvme {
    /// Does what waits in all pairs. Those for reads and writes have their turns: where a rate lets little pass, one
    /// would stop the others for ever.
    pub(super) fn serve_all(&mut self) {
        self.serve(0);
        let first = self.next;
        for turn in 0..PAIRS - 1 {
            self.serve((first - 1 + turn) % (PAIRS - 1) + 1);
        }
    }

    /// Does the commands of a pair of queues, as long as there is room for answers.
    pub(super) fn serve(&mut self, pair: usize) {
        let began = Instant::now();
        // No more than a queue holds: its end moves by a ring alone.
        while self.may_serve(pair)
            && let Some((answers, command)) = self.next_command(pair)
        {
            let answer = match pair {
                0 => self.admin(&command),
                _ => {
                    self.next = pair % (PAIRS - 1) + 1;
                    Some(self.io(&command))
                }
            };
            if let Some(answer) = answer {
                self.answer(pair, answers, &answer);
                if began.elapsed() >= PATIENCE {
                    self.pace.yields();
                    return;
                }
            }
        }
    }

    /// May the next command of a pair be done now, if there is one?
    fn may_serve(&self, pair: usize) -> bool {
        let waits = self.state.submission[pair]
            .as_ref()
            .is_some_and(|queue| !queue.is_empty());
        !self.quiet && (pair == 0 || waits && self.pace.may_pass())
    }

    /// The next command of a pair, and the queue for its answer.
    fn next_command(&mut self, pair: usize) -> Option<(usize, Command)> {
        let queue = self.state.submission[pair].as_mut()?;
        let answers = usize::from(queue.completes_to).min(PAIRS - 1);
        if self.state.completion[answers].as_ref()?.is_full() {
            return None;
        }
        Some((answers, queue.take(&self.memory)?))
    }

    fn answer(&mut self, pair: usize, answers: usize, answer: &Answer) {
        let head = self.state.submission[pair]
            .as_ref()
            .map_or(0, |queue| queue.head());
        let Some(queue) = &mut self.state.completion[answers] else {
            return;
        };
        // There are a handful.
        queue.put(&self.memory, answer, head, pair as u16);
        if let Some(vector) = queue.vector {
            self.msix.fire(vector);
        }
    }

    fn io(&mut self, command: &Command) -> Answer {
        let moves = matches!(command.opcode, READ | WRITE);
        self.pace.spend(if moves {
            blocks(command) * SECTOR_SIZE
        } else {
            0
        });
        let status = match self.do_io(command) {
            Ok(()) => Status::Success,
            Err(status) => status,
        };
        Answer {
            id: command.id,
            result: 0,
            status,
        }
    }

    fn do_io(&self, command: &Command) -> Result<(), Status> {
        let all = command.opcode == FLUSH && command.namespace == ALL_NAMESPACES;
        if command.namespace != NAMESPACE && !all {
            return Err(Status::InvalidNamespace);
        }
        match command.opcode {
            FLUSH => self.disk.flush().map_err(|_| Status::WriteFault),
            READ => self.read(command),
            WRITE => self.write(command),
            WRITE_ZEROES => {
                self.writable()?;
                let (at, len) = self.range(start(command), blocks(command))?;
                let unmap = command.words[2] & DEALLOCATE != 0;
                let done = self.disk.write_zeroes(at, len, unmap);
                self.written(done, command)
            }
            DATASET_MANAGEMENT => self.manage(command),
            _ => Err(Status::InvalidOpcode),
        }
    }

    fn read(&self, command: &Command) -> Result<(), Status> {
        let (at, len) = self.range(start(command), blocks(command))?;
        let mut data = buffer(len)?;
        let read = self.disk.read_at(&mut data, at);
        read.map_err(|_| Status::ReadError)?;
        prp::give(&self.memory, command, &data)
    }

    fn write(&self, command: &Command) -> Result<(), Status> {
        self.writable()?;
        let (at, len) = self.range(start(command), blocks(command))?;
        let mut data = buffer(len)?;
        prp::take(&self.memory, command, &mut data)?;
        let done = self.disk.write_at(&data, at);
        self.written(done, command)
    }

    fn manage(&self, command: &Command) -> Result<(), Status> {
        // A number less one, of at most 256.
        let count = usize::from(command.low(10) & 0xff) + 1;
        let mut ranges = vec![0; count * RANGE_LEN];
        prp::take(&self.memory, command, &mut ranges)?;
        if command.words[1] & DISCARD == 0 {
            return Ok(());
        }
        self.writable()?;
        for range in ranges.chunks_exact(RANGE_LEN) {
            let mut blocks = [0; 4];
            let mut start = [0; 8];
            blocks.copy_from_slice(&range[4..8]);
            start.copy_from_slice(&range[8..]);
            let blocks = u32::from_le_bytes(blocks).into();
            let (at, len) = self.range(u64::from_le_bytes(start), blocks)?;
            self.disk.discard(at, len).map_err(|_| Status::WriteFault)?;
        }
        Ok(())
    }

    fn writable(&self) -> Result<(), Status> {
        if self.disk.read_only() {
            return Err(Status::ReadOnly);
        }
        Ok(())
    }

    /// What a write came to, which is to last where the driver or its settings say so.
    fn written(&self, done: std::io::Result<()>, command: &Command) -> Result<(), Status> {
        let lasting = command.words[2] & FORCE_UNIT_ACCESS != 0 || self.state.write_cache_off;
        let done = if lasting {
            done.and_then(|()| self.disk.flush())
        } else {
            done
        };
        done.map_err(|_| Status::WriteFault)
    }

    /// Offset and length in bytes of so many blocks, which must lie on the disk.
    fn range(&self, start: u64, blocks: u64) -> Result<(u64, u64), Status> {
        let capacity = self.disk.len() / SECTOR_SIZE;
        let end = start.checked_add(blocks);
        if end.is_none_or(|end| end > capacity) {
            return Err(Status::OutOfRange);
        }
        Ok((start * SECTOR_SIZE, blocks * SECTOR_SIZE))
    }
}

/// The first block of a command.
fn start(command: &Command) -> u64 {
    u64::from(command.words[0]) | u64::from(command.words[1]) << 32
}

/// How many blocks it is about, which it says less one.
fn blocks(command: &Command) -> u64 {
    u64::from(command.low(12)) + 1
}

fn buffer(len: u64) -> Result<Vec<u8>, Status> {
    let len = usize::try_from(len).ok().filter(|len| *len <= MOST_DATA);
    len.map(|len| vec![0; len]).ok_or(Status::InvalidField)
}
