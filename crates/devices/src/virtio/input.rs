//! What devices have in common that tell of hands: a queue of events, and what the driver may ask.
//! Spec: VIRTIO 1.2, "Input Device"; Linux include/uapi/linux/input-event-codes.h.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::ports::locked;
use crate::virtio::ring::Batch;
use crate::virtio::{Backend, Doorbell, Next, Nonsense, Ring, VirtioDevice, WorkerPlan};

const ID: u16 = 18;
const QUEUE_SIZE: u16 = 64;
const EVENTS: usize = 0;
const QUEUES: usize = 2;

const SELECT_NAME: u8 = 0x01;
const SELECT_IDS: u8 = 0x03;
pub(super) const SELECT_EVENTS: u8 = 0x11;
pub(super) const SELECT_AXIS: u8 = 0x12;
const CONFIG_LEN: usize = 136;
/// A virtual bus, and a device of nobody's.
const IDS: [u8; 8] = [0x06, 0, 0, 0, 0, 0, 1, 0];

pub(super) const EV_SYN: u16 = 0;
pub(super) const EV_KEY: u16 = 1;

/// Type, code, value.
pub(super) type Event = (u16, u16, i32);

/// What waits until the guest has buffers, which must have its bounds.
pub(super) trait Events: Debug + Default + Send + 'static {
    fn is_empty(&self) -> bool;
    fn next(&mut self) -> Option<Event>;
}

/// Which device it is.
#[derive(Debug)]
pub(super) struct About {
    pub(super) kind: &'static str,
    pub(super) name: &'static [u8],
    /// Of PCI: what kind of input device.
    pub(super) class: u32,
    /// What it has of what [`SELECT_EVENTS`] and the like ask for; nothing where there is none.
    pub(super) has: fn(select: u8, subselect: u16) -> Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Shared<E> {
    waiting: Mutex<E>,
    waker: Arc<Doorbell>,
    /// A driver has taken the device.
    used: AtomicBool,
}

impl<E: Events> Shared<E> {
    pub(super) fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    /// `change` adds to what waits.
    pub(super) fn add<T>(&self, change: impl FnOnce(&mut E) -> T) -> T {
        let changed = change(&mut locked(&self.waiting));
        self.waker.ring();
        changed
    }
}

#[derive(Debug)]
pub(super) struct Input<E> {
    about: About,
    pub(super) shared: Arc<Shared<E>>,
    /// What of its configuration the driver asks for.
    select: u8,
    subselect: u8,
}

impl<E: Events> Input<E> {
    /// # Errors
    /// When the host has no descriptor left.
    pub(super) fn new(about: About) -> std::io::Result<Input<E>> {
        Ok(Input {
            about,
            shared: Arc::new(Shared {
                waiting: Mutex::default(),
                waker: Arc::new(Doorbell::new()?),
                used: AtomicBool::new(false),
            }),
            select: 0,
            subselect: 0,
        })
    }

    /// What the driver asks for.
    fn selected(&self) -> Vec<u8> {
        match (self.select, self.subselect) {
            (SELECT_NAME, 0) => self.about.name.to_vec(),
            (SELECT_IDS, 0) => IDS.to_vec(),
            (select, subselect) => (self.about.has)(select, subselect.into()),
        }
    }
}

/// A bitmap with these bits.
pub(super) fn bits(range: std::ops::Range<u16>) -> Vec<u8> {
    let mut map = vec![0; usize::from(range.end).div_ceil(8)];
    for bit in range {
        map[usize::from(bit / 8)] |= 1 << (bit % 8);
    }
    map
}

impl<E: Events> VirtioDevice for Input<E> {
    fn kind(&self) -> &'static str {
        self.about.kind
    }

    fn id(&self) -> u16 {
        ID
    }

    fn class(&self) -> u32 {
        self.about.class
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; QUEUES]
    }

    fn workers(&mut self) -> Vec<WorkerPlan> {
        vec![WorkerPlan {
            queues: QUEUES,
            backend: Box::new(InputBackend {
                shared: Arc::clone(&self.shared),
            }),
            waker: Arc::clone(&self.shared.waker),
            events: None,
        }]
    }

    fn config(&self) -> Vec<u8> {
        let found = self.selected();
        let mut config = vec![0; CONFIG_LEN];
        (config[0], config[1]) = (self.select, self.subselect);
        config[2] = found.len().to_le_bytes()[0];
        config[8..8 + found.len()].copy_from_slice(&found);
        config
    }

    fn config_write(&mut self, offset: u64, data: &[u8]) {
        for (at, byte) in (offset..).zip(data) {
            match at {
                0 => self.select = *byte,
                1 => self.subselect = *byte,
                _ => {}
            }
        }
    }

    fn reset(&mut self) {
        (self.select, self.subselect) = (0, 0);
    }

    /// What waits is lost: the hand has moved on when a machine is restored.
    fn save(&self) -> Vec<u8> {
        vec![self.select, self.subselect]
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let [select, subselect] = bytes else {
            return Err(format!("{} bytes of an input device's state", bytes.len()));
        };
        (self.select, self.subselect) = (*select, *subselect);
        Ok(())
    }
}

#[derive(Debug)]
struct InputBackend<E> {
    shared: Arc<Shared<E>>,
}

impl<E: Events> InputBackend<E> {
    fn tell(&self, ring: &mut Ring) -> Result<Next, Nonsense> {
        let batch = Batch::begin();
        while !batch.is_over() {
            let mut waiting = locked(&self.shared.waiting);
            if waiting.is_empty() {
                drop(waiting);
                ring.signal()?;
                return Ok(Next::Wait);
            }
            let Some(chain) = ring.pop()? else {
                drop(waiting);
                ring.signal()?;
                if ring.want_notifications()? {
                    continue;
                }
                return Ok(Next::Wait);
            };
            let (kind, code, value) = waiting.next().unwrap_or_default();
            drop(waiting);
            let mut event = [0; 8];
            event[..2].copy_from_slice(&kind.to_le_bytes());
            event[2..4].copy_from_slice(&code.to_le_bytes());
            event[4..].copy_from_slice(&value.to_le_bytes());
            chain.write_at(0, &event)?;
            ring.complete(&chain, 8)?;
        }
        ring.signal()?;
        Ok(Next::Again)
    }
}

impl<E: Events> Backend for InputBackend<E> {
    fn start(&mut self, _features: u64) {
        self.shared.used.store(true, Ordering::Release);
    }

    fn serve(&mut self, queue: usize, rings: &mut [Ring]) -> Result<Next, Nonsense> {
        let Some(ring) = rings.get_mut(queue) else {
            return Ok(Next::Wait);
        };
        if queue == EVENTS {
            return self.tell(ring);
        }
        // Of what the driver tells there is no use: nobody sees lights.
        ring.drain(|_| Ok(0))
    }

    fn reset(&mut self) {
        self.shared.used.store(false, Ordering::Release);
        *locked(&self.shared.waiting) = E::default();
    }
}

/// A device that is an [`Input`] and has nothing to add.
macro_rules! is_input {
    ($device:ident) => {
        impl crate::virtio::VirtioDevice for $device {
            fn kind(&self) -> &'static str {
                self.input.kind()
            }

            fn id(&self) -> u16 {
                self.input.id()
            }

            fn class(&self) -> u32 {
                self.input.class()
            }

            fn features(&self) -> u64 {
                self.input.features()
            }

            fn queue_sizes(&self) -> Vec<u16> {
                self.input.queue_sizes()
            }

            fn workers(&mut self) -> Vec<crate::virtio::WorkerPlan> {
                self.input.workers()
            }

            fn config(&self) -> Vec<u8> {
                self.input.config()
            }

            fn config_write(&mut self, offset: u64, data: &[u8]) {
                self.input.config_write(offset, data);
            }

            fn reset(&mut self) {
                self.input.reset();
            }

            fn save(&self) -> Vec<u8> {
                self.input.save()
            }

            fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
                self.input.restore(bytes)
            }
        }
    };
}
pub(super) use is_input;
