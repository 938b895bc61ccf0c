//! A driver for tests: finds the registers by the capabilities, as a kernel does, and lays rings and
//! buffers out in guest memory.

#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};

use crate::pci::{COMMAND, COMMAND_BUS_MASTER, COMMAND_MEMORY, PciFunction};
use crate::testing::{FakeLine, FakeMsi};
use crate::virtio::{F_VERSION_1, QueueState, VirtioDevice, VirtioPci};

pub(crate) const RAM: u64 = 16 << 20;
pub(crate) const QUEUE_SIZE: u16 = 64;
const RINGS: u64 = 0x10_000;
const BUFFERS: u64 = 0x20_0000;
/// Long enough for a worker on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

/// A buffer of a request.
pub(crate) enum Buffer<'a> {
    Out(&'a [u8]),
    In(u32),
}

/// A raw descriptor: address, length, flags, next.
pub(crate) type Descriptor = (u64, u32, u16, u16);

pub(crate) fn ram() -> GuestMemory {
    GuestMemory::new(&[RamRange {
        base: Gpa(0),
        len: RAM,
    }])
    .unwrap()
}

pub(crate) fn queue_state(index: u64, size: u16) -> QueueState {
    let base = RINGS + index * 0x8000;
    QueueState {
        size,
        enabled: true,
        descriptors: base,
        driver: base + 0x2000,
        device: base + 0x4000,
        next_available: 0,
        next_used: 0,
    }
}

/// The driver's side of one queue.
#[derive(Default)]
struct DriverQueue {
    next_descriptor: u16,
    available: u16,
    used: u16,
    /// The writable buffers of each request, by head.
    writable: HashMap<u16, Vec<(u64, u32)>>,
}

pub(crate) struct Driver {
    pub(crate) function: VirtioPci,
    pub(crate) memory: GuestMemory,
    pub(crate) msi: Arc<FakeMsi>,
    pub(crate) line: Arc<FakeLine>,
    queues: Vec<DriverQueue>,
    next_buffer: u64,
    common: u64,
    notify: u64,
    pub(crate) isr: u64,
    pub(crate) device: u64,
}

impl Driver {
    pub(crate) fn new(device: impl VirtioDevice + 'static) -> Driver {
        Driver::with_memory(device, ram())
    }

    pub(crate) fn with_memory(device: impl VirtioDevice + 'static, memory: GuestMemory) -> Driver {
        let (msi, line) = (FakeMsi::new(), FakeLine::new());
        let function =
            VirtioPci::new(device, memory.clone(), Arc::clone(&msi) as _, line.clone()).unwrap();
        let mut driver = Driver {
            function,
            memory,
            msi,
            line,
            queues: Vec::new(),
            next_buffer: BUFFERS,
            common: 0,
            notify: 0,
            isr: 0,
            device: 0,
        };
        let command = COMMAND_MEMORY | COMMAND_BUS_MASTER;
        driver.function.config_write(COMMAND, 2, command.into());
        driver.find_registers();
        driver
    }

    fn find_registers(&mut self) {
        let mut at = self.function.config_read(0x34, 1) as u16;
        while at != 0 {
            if self.function.config_read(at, 1) == 9 {
                let offset = u64::from(self.function.config_read(at + 8, 4));
                match self.function.config_read(at + 3, 1) {
                    1 => self.common = offset,
                    2 => self.notify = offset,
                    3 => self.isr = offset,
                    4 => self.device = offset,
                    _ => {}
                }
            }
            at = self.function.config_read(at + 1, 1) as u16;
        }
    }

    pub(crate) fn read(&mut self, offset: u64, size: u8) -> u64 {
        self.function.bar_read(0, self.common + offset, size)
    }

    pub(crate) fn write(&mut self, offset: u64, size: u8, value: u64) {
        self.function
            .bar_write(0, self.common + offset, size, value);
    }

    /// Reads the region at an absolute offset.
    pub(crate) fn function_read(&mut self, offset: u64, size: u8) -> u64 {
        self.function.bar_read(0, offset, size)
    }

    pub(crate) fn status(&mut self) -> u8 {
        self.read(0x14, 1) as u8
    }

    pub(crate) fn offered(&mut self) -> u64 {
        self.write(0x00, 4, 0);
        let low = self.read(0x04, 4);
        self.write(0x00, 4, 1);
        self.read(0x04, 4) << 32 | low
    }

    /// Resets, negotiates `features` and VERSION_1, and answers whether the device agreed.
    pub(crate) fn negotiate(&mut self, features: u64) -> bool {
        self.write(0x14, 1, 0);
        self.write(0x14, 1, 3);
        let features = features | F_VERSION_1;
        for select in 0..2 {
            self.write(0x08, 4, select);
            self.write(0x0c, 4, features >> (32 * select) & 0xffff_ffff);
        }
        self.write(0x14, 1, 0xb);
        self.status() & 8 != 0
    }

    /// Everything up to DRIVER_OK, all queues in use, no MSI-X.
    pub(crate) fn start(&mut self, features: u64) {
        assert!(self.negotiate(features), "features refused");
        let count = self.read(0x12, 2);
        self.queues.clear();
        for index in 0..count {
            self.enable_queue(index, &queue_state(index, QUEUE_SIZE));
            self.queues.push(DriverQueue::default());
        }
        self.write(0x14, 1, 0xf);
    }

    pub(crate) fn enable_queue(&mut self, index: u64, queue: &QueueState) {
        for (offset, len) in [
            (queue.descriptors, 16 * QUEUE_SIZE),
            (queue.driver, 0x1000),
            (queue.device, 0x1000),
        ] {
            // Rings that a test puts outside RAM stay as they are.
            let zeros = vec![0; usize::from(len)];
            let _ = self.memory.ram().write_slice(&zeros, GuestAddress(offset));
        }
        self.write(0x16, 2, index);
        self.write(0x18, 2, queue.size.into());
        self.write(0x20, 8, queue.descriptors);
        self.write(0x28, 8, queue.driver);
        self.write(0x30, 8, queue.device);
        self.write(0x1c, 2, 1);
    }

    /// Turns MSI-X on: vector 0 for the configuration, vector n + 1 for queue n.
    pub(crate) fn use_msix(&mut self) {
        let capability = self.capability(0x11);
        let table = u64::from(self.function.config_read(capability + 4, 4) & !7);
        self.function.config_write(capability + 2, 2, 0x8000);
        self.write(0x10, 2, 0);
        for vector in 0..=self.queues.len() as u64 {
            let entry = table + vector * 16;
            self.function.bar_write(0, entry, 8, 0xfee0_0000);
            self.function.bar_write(0, entry + 8, 4, 0x40 + vector);
            self.function.bar_write(0, entry + 12, 4, 0);
            if vector > 0 {
                self.write(0x16, 2, vector - 1);
                self.write(0x1a, 2, vector);
            }
        }
    }

    pub(crate) fn capability(&mut self, id: u32) -> u16 {
        let mut at = self.function.config_read(0x34, 1) as u16;
        while at != 0 && self.function.config_read(at, 1) != id {
            at = self.function.config_read(at + 1, 1) as u16;
        }
        at
    }

    /// Copies `bytes` to fresh guest memory.
    pub(crate) fn place(&mut self, bytes: &[u8]) -> u64 {
        let address = self.next_buffer;
        self.memory
            .ram()
            .write_slice(bytes, GuestAddress(address))
            .unwrap();
        self.next_buffer += (bytes.len() as u64).next_multiple_of(64);
        address
    }

    /// Makes a request available and notifies. Answers its head.
    pub(crate) fn submit(&mut self, queue: usize, buffers: &[Buffer<'_>]) -> u16 {
        let head = self.enqueue(queue, buffers);
        self.notify(queue);
        head
    }

    /// Makes a request available without a word.
    pub(crate) fn enqueue(&mut self, queue: usize, buffers: &[Buffer<'_>]) -> u16 {
        let mut writable = Vec::new();
        let mut descriptors = Vec::new();
        for buffer in buffers {
            match buffer {
                Buffer::Out(bytes) => {
                    descriptors.push((self.place(bytes), bytes.len() as u32, 0));
                }
                Buffer::In(len) => {
                    let address = self.place(&vec![0xee; *len as usize]);
                    writable.push((address, *len));
                    descriptors.push((address, *len, WRITE));
                }
            }
        }
        let first = self.queues[queue].next_descriptor;
        let last = descriptors.len() as u16 - 1;
        let raw: Vec<Descriptor> = (0..)
            .zip(descriptors)
            .map(|(index, (address, len, flags))| {
                let flags = if index < last { flags | NEXT } else { flags };
                (address, len, flags, (first + index + 1) % QUEUE_SIZE)
            })
            .collect();
        self.enqueue_raw(queue, &raw);
        self.queues[queue].writable.insert(first, writable);
        first
    }

    /// Writes descriptors as they are and makes the first available.
    pub(crate) fn enqueue_raw(&mut self, queue: usize, descriptors: &[Descriptor]) -> u16 {
        let state = queue_state(queue as u64, QUEUE_SIZE);
        let first = self.queues[queue].next_descriptor;
        for (index, descriptor) in (0..).zip(descriptors) {
            let slot = u64::from((first + index) % QUEUE_SIZE);
            write_descriptor(&self.memory, state.descriptors + slot * 16, *descriptor);
        }
        let side = &mut self.queues[queue];
        side.next_descriptor = (first + descriptors.len() as u16) % QUEUE_SIZE;
        let slot = u64::from(side.available % QUEUE_SIZE);
        side.available = side.available.wrapping_add(1);
        let ram = self.memory.ram();
        ram.write_obj(first, GuestAddress(state.driver + 4 + slot * 2))
            .unwrap();
        ram.write_obj(side.available, GuestAddress(state.driver + 2))
            .unwrap();
        first
    }

    pub(crate) fn notify(&mut self, queue: usize) {
        let offset = self.notify + 4 * queue as u64;
        self.function.bar_write(0, offset, 2, queue as u64);
    }

    /// Waits for the next answer: head and written length.
    pub(crate) fn answer(&mut self, queue: usize) -> (u16, u32) {
        wait_until(|| self.has_answer(queue));
        let state = queue_state(queue as u64, QUEUE_SIZE);
        let side = &mut self.queues[queue];
        let slot = u64::from(side.used % QUEUE_SIZE);
        side.used = side.used.wrapping_add(1);
        let element = GuestAddress(state.device + 4 + slot * 8);
        let [head, len]: [u32; 2] = self.memory.ram().read_obj(element).unwrap();
        (head as u16, len)
    }

    pub(crate) fn has_answer(&self, queue: usize) -> bool {
        let state = queue_state(queue as u64, QUEUE_SIZE);
        let index: u16 = self
            .memory
            .ram()
            .read_obj(GuestAddress(state.device + 2))
            .unwrap();
        index != self.queues[queue].used
    }

    /// What the device wrote to the request's writable buffers.
    pub(crate) fn written(&self, queue: usize, head: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &(address, len) in &self.queues[queue].writable[&head] {
            let mut piece = vec![0; len as usize];
            self.memory
                .ram()
                .read_slice(&mut piece, GuestAddress(address))
                .unwrap();
            bytes.extend(piece);
        }
        bytes
    }

    /// Takes over where `before` was, as a guest that was restored does.
    pub(crate) fn continue_from(&mut self, before: Driver) {
        self.queues = before.queues;
        self.next_buffer = before.next_buffer;
    }
}

pub(crate) fn write_descriptor(memory: &GuestMemory, at: u64, descriptor: Descriptor) {
    let (address, len, flags, next) = descriptor;
    let mut bytes = address.to_le_bytes().to_vec();
    bytes.extend(len.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend(next.to_le_bytes());
    memory.ram().write_slice(&bytes, GuestAddress(at)).unwrap();
}

pub(crate) fn wait_until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(
            Instant::now() < deadline,
            "nothing happened in {PATIENCE:?}"
        );
        sleep(Duration::from_micros(200));
    }
}
