//! A tablet: a pointer that is where the hand is, which a mouse is not. Its buttons and wheel with it.
//! Spec: VIRTIO 1.2, "Input Device"; Linux include/uapi/linux/input-event-codes.h.
//!
//! Events wait in one queue of the host's until the guest has buffers. A guest that does not take them
//! gets the newest: movements that wait are replaced by later ones.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::ports::locked;
use crate::virtio::ring::Batch;
use crate::virtio::{Backend, Doorbell, Next, Nonsense, Ring, VirtioDevice, WorkerPlan};

const ID: u16 = 18;
/// Another input device than those of the list.
const CLASS: u32 = 0x09_80_00;
const QUEUE_SIZE: u16 = 64;
const EVENTS: usize = 0;
const QUEUES: usize = 2;
/// Coordinates go from 0 to this.
pub const FURTHEST: u16 = 0x7fff;
/// Reports that wait.
const MOST: usize = 64;

const SELECT_NAME: u8 = 0x01;
const SELECT_IDS: u8 = 0x03;
const SELECT_EVENTS: u8 = 0x11;
const SELECT_AXIS: u8 = 0x12;
const CONFIG_LEN: usize = 136;
const NAME: &[u8] = b"Innkeeper tablet";
/// A virtual bus, and a tablet of nobody's.
const IDS: [u8; 8] = [0x06, 0, 0, 0, 0, 0, 1, 0];

const EV_SYN: u16 = 0;
const EV_KEY: u16 = 1;
const EV_REL: u16 = 2;
const EV_ABS: u16 = 3;
const WHEEL: u16 = 8;
/// Left, right, middle, side and extra follow each other.
const BUTTON_LEFT: u16 = 0x110;
const BUTTONS: u16 = 5;

/// Where the hand is, and what it does.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TabletEvent {
    /// From left to right and from top to bottom, up to [`FURTHEST`].
    pub x: u16,
    pub y: u16,
    /// Towards the person, in counts.
    pub wheel: i32,
    /// Held buttons: bit 0 left, 1 right, 2 middle, 3 and 4 the side ones.
    pub buttons: u8,
}

#[derive(Debug, Default)]
struct Waiting {
    reports: VecDeque<TabletEvent>,
    /// Of one report, what is still to be told: type, code, value.
    events: VecDeque<(u16, u16, i32)>,
    told_buttons: u8,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    waker: Arc<Doorbell>,
    /// A driver has taken the device.
    used: AtomicBool,
}

/// The host's end.
#[derive(Debug, Clone)]
pub struct TabletHandle {
    shared: Arc<Shared>,
}

impl TabletHandle {
    /// False where the guest has no driver for it: it is to be told otherwise.
    #[must_use]
    pub fn point(&self, event: TabletEvent) -> bool {
        if !self.shared.used.load(Ordering::Acquire) {
            return false;
        }
        let mut waiting = locked(&self.shared.waiting);
        let moves_on = waiting
            .reports
            .back()
            .is_some_and(|last| last.buttons == event.buttons && last.wheel == 0);
        if moves_on && event.wheel == 0 || waiting.reports.len() >= MOST {
            waiting.reports.pop_back();
        }
        waiting.reports.push_back(event);
        drop(waiting);
        self.shared.waker.ring();
        true
    }
}

#[derive(Debug)]
pub struct Tablet {
    shared: Arc<Shared>,
    /// What of its configuration the driver asks for.
    select: u8,
    subselect: u8,
}

impl Tablet {
    /// # Errors
    /// When the host has no descriptor left.
    pub fn new() -> std::io::Result<Tablet> {
        Ok(Tablet {
            shared: Arc::new(Shared {
                waiting: Mutex::default(),
                waker: Arc::new(Doorbell::new()?),
                used: AtomicBool::new(false),
            }),
            select: 0,
            subselect: 0,
        })
    }

    #[must_use]
    pub fn handle(&self) -> TabletHandle {
        TabletHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// What the driver asks for; nothing where there is none.
    fn selected(&self) -> Vec<u8> {
        match (self.select, u16::from(self.subselect)) {
            (SELECT_NAME, 0) => NAME.to_vec(),
            (SELECT_IDS, 0) => IDS.to_vec(),
            (SELECT_EVENTS, EV_KEY) => bits(BUTTON_LEFT..BUTTON_LEFT + BUTTONS),
            (SELECT_EVENTS, EV_REL) => bits(WHEEL..WHEEL + 1),
            (SELECT_EVENTS, EV_ABS) => bits(0..2),
            (SELECT_AXIS, 0 | 1) => {
                let axis = [0, u32::from(FURTHEST), 0, 0, 0];
                axis.map(u32::to_le_bytes).concat()
            }
            _ => Vec::new(),
        }
    }
}

/// A bitmap with these bits.
fn bits(range: std::ops::Range<u16>) -> Vec<u8> {
    let mut map = vec![0; usize::from(range.end).div_ceil(8)];
    for bit in range {
        map[usize::from(bit / 8)] |= 1 << (bit % 8);
    }
    map
}

impl VirtioDevice for Tablet {
    fn kind(&self) -> &'static str {
        "virtio-tablet"
    }

    fn id(&self) -> u16 {
        ID
    }

    fn class(&self) -> u32 {
        CLASS
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
            backend: Box::new(TabletBackend {
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
            return Err(format!("{} bytes of a tablet's state", bytes.len()));
        };
        (self.select, self.subselect) = (*select, *subselect);
        Ok(())
    }
}

#[derive(Debug)]
struct TabletBackend {
    shared: Arc<Shared>,
}

impl Waiting {
    /// The next event, as the guest has it.
    fn next(&mut self) -> Option<[u8; 8]> {
        if self.events.is_empty() {
            let report = self.reports.pop_front()?;
            self.begin(report);
        }
        let (kind, code, value) = self.events.pop_front()?;
        let [a, b] = kind.to_le_bytes();
        let [c, d] = code.to_le_bytes();
        let [e, f, g, h] = value.to_le_bytes();
        Some([a, b, c, d, e, f, g, h])
    }

    fn begin(&mut self, report: TabletEvent) {
        let axis = |place: u16| i32::from(place.min(FURTHEST));
        self.events.push_back((EV_ABS, 0, axis(report.x)));
        self.events.push_back((EV_ABS, 1, axis(report.y)));
        let changed = self.told_buttons ^ report.buttons;
        for button in 0..BUTTONS {
            if changed >> button & 1 != 0 {
                let held = i32::from(report.buttons >> button & 1);
                self.events.push_back((EV_KEY, BUTTON_LEFT + button, held));
            }
        }
        if report.wheel != 0 {
            // Away from the person counts up.
            let turned = report.wheel.saturating_neg();
            self.events.push_back((EV_REL, WHEEL, turned));
        }
        self.events.push_back((EV_SYN, 0, 0));
        self.told_buttons = report.buttons;
    }
}

impl TabletBackend {
    fn tell(&self, ring: &mut Ring) -> Result<Next, Nonsense> {
        let batch = Batch::begin();
        while !batch.is_over() {
            let mut waiting = locked(&self.shared.waiting);
            if waiting.events.is_empty() && waiting.reports.is_empty() {
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
            let event = waiting.next().unwrap_or_default();
            drop(waiting);
            chain.write_at(0, &event)?;
            ring.complete(&chain, 8)?;
        }
        ring.signal()?;
        Ok(Next::Again)
    }
}

impl Backend for TabletBackend {
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
        // Of what the driver tells, a tablet has no use: it has no lights.
        ring.drain(|_| Ok(0))
    }

    fn reset(&mut self) {
        self.shared.used.store(false, Ordering::Release);
        *locked(&self.shared.waiting) = Waiting::default();
    }
}

#[cfg(test)]
mod tests;
