//! A virtio sound card: requests and messages, most of which make sense, while time passes; saved and forged states.
#![allow(clippy::cast_possible_truncation, reason = "numbers are small")]

use std::sync::Arc;
use std::time::Duration;

use devices::pci::PciFunction;
use devices::testing::{FakeClock, FakeLine};
use devices::virtio::{Sound, VirtioPci};
use memory::GuestMemory;
use vm_memory::{Bytes, GuestAddress};

use crate::board::Nobody;
use crate::pci::{NOTIFY, memory, rings, save_and_restore, start};
use crate::{Input, strict};

/// Of the common configuration.
const STATUS: u64 = 0x14;
const NEEDS_RESET: u64 = 0x40;
const CONTROL: u64 = 0;
const PLAYED: u64 = 2;
const QUEUES: usize = 4;
/// Chains of a queue, each of so many descriptors.
const CHAINS: u16 = 4;
const LENGTH: u16 = 4;
/// Where requests and headers lie, each chain's at its own place, and what else is read and written.
const HEADERS: u64 = 0xa000;
const DATA: u64 = 0x1_0000;
const READ: u16 = 0;
const WRITE: u16 = 2;
/// How long the worker may take, in looks.
const PATIENCE: u32 = 50;
const LOOK: Duration = Duration::from_micros(20);

struct World {
    function: VirtioPci,
    memory: GuestMemory,
    clock: Arc<FakeClock>,
    /// Chains that each queue was offered.
    offered: [u16; QUEUES],
}

pub(crate) fn card(bytes: &[u8]) {
    strict();
    let mut input = Input::new(bytes);
    let (memory, clock) = (memory(), FakeClock::new());
    let card = Sound::new(Arc::clone(&clock) as _, None);
    let sink = Arc::new(Nobody::default());
    let function = VirtioPci::new(card, memory.clone(), sink, FakeLine::new());
    let mut world = World {
        function: function.expect("a device"),
        memory,
        clock,
        offered: [0; QUEUES],
    };
    world.begin();
    while !input.is_empty() {
        world.step(&mut input);
    }
    world.function.quiesce();
}

impl World {
    fn begin(&mut self) {
        self.function.bar_write(0, STATUS, 1, 0);
        self.offered = [0; QUEUES];
        for queue in 0..QUEUES as u64 {
            let [_, driver, device] = rings(queue);
            for ring in [driver, device] {
                self.put(ring, &[0; 4]);
            }
        }
        start(&mut self.function, 0);
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() & 15 {
            0..=5 => {
                let request = request(input);
                let room = 3 + u32::from(input.byte() & 0x7f);
                let len = request.len() - usize::from(input.byte() & 0x80 != 0);
                let header = self.header(CONTROL, &request);
                self.offer(CONTROL, &[(header, len as u32, READ), (DATA, room, WRITE)]);
                self.settle();
            }
            6..=11 => {
                let queue = PLAYED + u64::from(input.byte() & 1);
                let stream = match input.byte() {
                    odd @ 0xf0.. => odd.into(),
                    _ => queue as u32 - PLAYED as u32,
                };
                let frames = input.number() as u32 & 0xffff;
                let header = self.header(queue, &stream.to_le_bytes());
                let way = if queue == PLAYED { READ } else { WRITE };
                self.offer(
                    queue,
                    &[
                        (header, 4, READ),
                        (DATA, frames, way),
                        (header + 8, 8 - u32::from(input.byte() == 0), WRITE),
                    ],
                );
            }
            12 | 13 => {
                self.clock.advance(input.number() & 0xfff_ffff);
                self.function.bar_write(0, NOTIFY + PLAYED * 4, 2, PLAYED);
            }
            14 => save_and_restore(&mut self.function, input),
            _ => {
                // While it is served.
                let at = HEADERS + u64::from(input.u16() & 0x7ff);
                self.put(at, &input.number().to_le_bytes());
            }
        }
        if self.is_broken() {
            self.begin();
        }
    }

    fn is_broken(&mut self) -> bool {
        self.function.bar_read(0, STATUS, 1) & NEEDS_RESET != 0
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        // All of it is in memory.
        let _ = self.memory.ram().write(bytes, GuestAddress(at));
    }

    /// Where the next chain of the queue has what is read first.
    fn header(&self, queue: u64, bytes: &[u8]) -> u64 {
        let chain = self.offered[queue as usize] % CHAINS;
        let at = HEADERS + queue * 0x200 + u64::from(chain) * 0x40;
        self.put(at, bytes);
        at
    }

    /// Makes one chain more available, of addresses, lengths and ways.
    fn offer(&mut self, queue: u64, buffers: &[(u64, u32, u16)]) {
        let [descriptors, driver, _] = rings(queue);
        let offered = self.offered[queue as usize];
        let first = offered % CHAINS * LENGTH;
        for (index, (address, len, way)) in (first..).zip(buffers) {
            let last = usize::from(index - first) + 1 == buffers.len();
            let mut entry = address.to_le_bytes().to_vec();
            entry.extend(len.to_le_bytes());
            entry.extend((way | u16::from(!last)).to_le_bytes());
            entry.extend((index + 1).to_le_bytes());
            self.put(descriptors + u64::from(index) * 16, &entry);
        }
        let slot = u64::from(offered % 16);
        self.put(driver + 4 + slot * 2, &first.to_le_bytes());
        let offered = offered.wrapping_add(1);
        self.offered[queue as usize] = offered;
        self.put(driver + 2, &offered.to_le_bytes());
        self.function.bar_write(0, NOTIFY + queue * 4, 2, queue);
    }

    /// Waits until requests are answered, or nothing more will be.
    fn settle(&mut self) {
        let [_, _, device] = rings(CONTROL);
        for _ in 0..PATIENCE {
            let answered = self.memory.ram().read_obj(GuestAddress(device + 2));
            if answered.ok() == Some(self.offered[CONTROL as usize]) || self.is_broken() {
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// What a driver asks for, and of which stream.
fn request(input: &mut Input<'_>) -> Vec<u8> {
    const CODES: [u32; 12] = [
        0x100, 0x101, 0x101, 0x102, 0x102, 0x103, 0x104, 0x104, 0x105, 1, 0x200, 0x300,
    ];
    let stream = match input.byte() {
        odd @ 0xf0.. => odd.into(),
        other => u32::from(other & 1),
    };
    let mut words = vec![input.choose(&CODES), stream];
    words.extend(match input.byte() {
        0..0xe0 => [1920, 960, 0],
        0xe0..0xf0 => [1, 32, 0],
        _ => [input.u32(), input.u32(), input.u32()],
    });
    let format = input.choose(&[4, 5, 15, 17, 19, 3]);
    words.push(u32::from_le_bytes([
        1 + (input.byte() & 1),
        format,
        input.byte() & 15,
        0,
    ]));
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
