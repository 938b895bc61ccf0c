//! A tablet and a keyboard. Spec: Device Class Definition for Human Interface Devices (HID) 1.11; HID Usage Tables,
//! "Keyboard/Keypad Page".
//!
//! What somebody does at the host waits in a queue until the guest asks for it. A guest that does not ask gets the
//! newest of the tablet, and loses keys; one that cannot ask, since its controller stands still or has no endpoint set
//! up, is to have them by other devices.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use super::descriptors::{self, Description, Speed};
use super::device::{Answer, Common, DeviceSaved, Setup, UsbDevice};
use super::keys::{Key, PAUSE, PAUSE_KEY, key_of};
use crate::Pace;
use crate::ports::locked;
use crate::virtio::TabletEvent;

/// Reports that wait.
const MOST: usize = 64;
const INTERRUPT_IN: u8 = 0x81;
const INTERRUPT: u8 = 3;

/// Every 8 milliseconds: at high speed in powers of two of 125 microseconds, else in milliseconds, of which slow devices
/// have 10 at least.
fn interval(speed: Speed) -> u8 {
    match speed {
        Speed::Low => 10,
        Speed::Full => 8,
        Speed::High => 7,
    }
}

const TABLET_REPORT: &[u8] = &[
    // A pointer of the desktop's: five buttons,
    0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00, 0x05, 0x09, 0x19, 0x01, 0x29, 0x05,
    0x15, 0x00, 0x25, 0x01, 0x95, 0x05, 0x75, 0x01, 0x81, 0x02, 0x95, 0x01, 0x75, 0x03, 0x81, 0x01,
    // where it is, up to 32767,
    0x05, 0x01, 0x09, 0x30, 0x09, 0x31, 0x15, 0x00, 0x26, 0xff, 0x7f, 0x35, 0x00, 0x46, 0xff, 0x7f,
    0x75, 0x10, 0x95, 0x02, 0x81, 0x02, // and a wheel.
    0x09, 0x38, 0x15, 0x81, 0x25, 0x7f, 0x35, 0x00, 0x45, 0x00, 0x75, 0x08, 0x95, 0x01, 0x81, 0x06,
    0xc0, 0xc0,
];
const KEYBOARD_REPORT: &[u8] = &[
    // Eight keys that change others, a byte of nothing,
    0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, 0x05, 0x07, 0x19, 0xe0, 0x29, 0xe7, 0x15, 0x00, 0x25, 0x01,
    0x75, 0x01, 0x95, 0x08, 0x81, 0x02, 0x95, 0x01, 0x75, 0x08, 0x81, 0x01,
    // five lights,
    0x95, 0x05, 0x75, 0x01, 0x05, 0x08, 0x19, 0x01, 0x29, 0x05, 0x91, 0x02, 0x95, 0x01, 0x75, 0x03,
    0x91, 0x01, // and six keys that are down.
    0x95, 0x06, 0x75, 0x08, 0x15, 0x00, 0x26, 0xff, 0x00, 0x05, 0x07, 0x19, 0x00, 0x2a, 0xff, 0x00,
    0x81, 0x00, 0xc0,
];

/// What waits for the guest.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Queue {
    reports: VecDeque<Vec<u8>>,
    /// As the guest would read it now.
    now: Vec<u8>,
    /// The guest has a driver for it.
    used: bool,
}

impl Queue {
    fn put(&mut self, report: Vec<u8>) -> bool {
        if self.reports.len() >= MOST {
            return false;
        }
        self.now.clone_from(&report);
        self.reports.push_back(report);
        true
    }
}

/// What the device and the host's end of it have in common.
#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// The guest can ask.
    heard: AtomicBool,
}

impl Shared {
    /// Has the guest a driver for it, which can ask?
    fn is_read(&self, queue: &Queue) -> bool {
        queue.used && self.heard.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Tablet,
    Keyboard,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HidState {
    kind: Kind,
    common: Common,
    queue: Queue,
    idle: u8,
    protocol: u8,
    lights: u8,
}

#[derive(Debug)]
pub(super) struct Hid {
    kind: Kind,
    description: Description,
    common: Common,
    shared: Arc<Shared>,
    idle: u8,
    /// 1 is its own, 0 the BIOS's, which of a keyboard is the same.
    protocol: u8,
    lights: u8,
}

impl Hid {
    pub(super) fn tablet(speed: Speed) -> Hid {
        let description = Description {
            speed,
            product: "Innkeeper USB tablet",
            serial: "1".into(),
            number: 0x0001,
            class: [3, 0, 0],
            class_descriptor: descriptors::hid(TABLET_REPORT),
            endpoints: vec![(INTERRUPT_IN, INTERRUPT, 8, interval(speed))],
            report: Some(TABLET_REPORT),
        };
        Hid::new(Kind::Tablet, description, 6)
    }

    pub(super) fn keyboard(speed: Speed) -> Hid {
        let description = Description {
            speed,
            product: "Innkeeper USB keyboard",
            serial: "1".into(),
            number: 0x0002,
            // One that a BIOS knows.
            class: [3, 1, 1],
            class_descriptor: descriptors::hid(KEYBOARD_REPORT),
            endpoints: vec![(INTERRUPT_IN, INTERRUPT, 8, interval(speed))],
            report: Some(KEYBOARD_REPORT),
        };
        Hid::new(Kind::Keyboard, description, 8)
    }

    fn new(kind: Kind, description: Description, len: usize) -> Hid {
        let queue = Queue {
            now: vec![0; len],
            ..Queue::default()
        };
        Hid {
            kind,
            description,
            common: Common::default(),
            shared: Arc::new(Shared {
                queue: Mutex::new(queue),
                heard: AtomicBool::new(false),
            }),
            idle: 0,
            protocol: 1,
            lights: 0,
        }
    }

    fn len(&self) -> usize {
        match self.kind {
            Kind::Tablet => 6,
            Kind::Keyboard => 8,
        }
    }

    fn class_request(&mut self, setup: &Setup, data: &[u8]) -> Answer {
        let [_, value] = setup.value.to_le_bytes();
        match (setup.kind, setup.request) {
            // GET REPORT, GET IDLE, GET PROTOCOL
            (0xa1, 1) => Answer::Data(locked(&self.shared.queue).now.clone()),
            (0xa1, 2) => Answer::Data(vec![self.idle]),
            (0xa1, 3) => Answer::Data(vec![self.protocol]),
            // SET REPORT, SET IDLE, SET PROTOCOL
            (0x21, 9) => {
                self.lights = data.first().copied().unwrap_or(0);
                Answer::Data(Vec::new())
            }
            (0x21, 10) => {
                self.idle = value;
                Answer::Data(Vec::new())
            }
            (0x21, 11) if setup.value <= 1 => {
                self.protocol = u8::from(setup.value == 1);
                Answer::Data(Vec::new())
            }
            _ => Answer::Stall,
        }
    }
}

impl UsbDevice for Hid {
    fn description(&self) -> &Description {
        &self.description
    }

    fn reset(&mut self) {
        self.common = Common::default();
        (self.idle, self.protocol, self.lights) = (0, 1, 0);
        *locked(&self.shared.queue) = Queue {
            now: vec![0; self.len()],
            ..Queue::default()
        };
    }

    fn control(&mut self, setup: &Setup, data: &[u8]) -> Answer {
        let answer = self.common.standard(setup, &self.description);
        locked(&self.shared.queue).used = self.common.configuration != 0;
        answer.unwrap_or_else(|| self.class_request(setup, data))
    }

    fn take(&mut self, endpoint: u8, most: usize) -> Answer {
        if endpoint != INTERRUPT_IN || self.common.is_halted(endpoint) {
            return Answer::Stall;
        }
        match locked(&self.shared.queue).reports.pop_front() {
            Some(mut report) => {
                report.truncate(most);
                Answer::Data(report)
            }
            None => Answer::Wait,
        }
    }

    fn give(&mut self, _endpoint: u8, _data: &[u8]) -> Answer {
        Answer::Stall
    }

    fn is_asked(&self, asked: bool) {
        self.shared.heard.store(asked, Ordering::Relaxed);
    }

    fn save(&self) -> DeviceSaved {
        DeviceSaved::Hid(HidState {
            kind: self.kind,
            common: self.common.clone(),
            queue: locked(&self.shared.queue).clone(),
            idle: self.idle,
            protocol: self.protocol,
            lights: self.lights,
        })
    }

    fn fits(&self, saved: &DeviceSaved) -> bool {
        let DeviceSaved::Hid(state) = saved else {
            return false;
        };
        let reports = &state.queue.reports;
        state.kind == self.kind
            && state.queue.now.len() == self.len()
            && reports.len() <= MOST
            && reports.iter().all(|report| report.len() == self.len())
            && state.protocol <= 1
            && state.common.configuration <= 1
    }

    fn restore(&mut self, saved: &DeviceSaved) {
        if let DeviceSaved::Hid(state) = saved {
            self.common = state.common.clone();
            *locked(&self.shared.queue) = state.queue.clone();
            (self.idle, self.protocol, self.lights) = (state.idle, state.protocol, state.lights);
        }
    }
}

/// The host's end of a tablet and a keyboard on one controller.
#[derive(Debug, Clone)]
pub struct HidHandle {
    tablet: Arc<Shared>,
    keyboard: Arc<Shared>,
    /// By which the controller is told to look.
    bell: Pace,
}

impl HidHandle {
    pub(super) fn new(tablet: &Hid, keyboard: &Hid, bell: Pace) -> HidHandle {
        HidHandle {
            tablet: Arc::clone(&tablet.shared),
            keyboard: Arc::clone(&keyboard.shared),
            bell,
        }
    }

    /// The hand is there. False where the guest has no driver for the tablet, or one that cannot ask.
    #[must_use]
    pub fn point(&self, event: TabletEvent) -> bool {
        let mut queue = locked(&self.tablet.queue);
        if !self.tablet.is_read(&queue) {
            return false;
        }
        let [x, x_high] = event.x.to_le_bytes();
        let [y, y_high] = event.y.to_le_bytes();
        // Up is positive here.
        let [wheel, ..] = (-event.wheel.clamp(-127, 127)).to_le_bytes();
        let report = vec![event.buttons & 0x1f, x, x_high, y, y_high, wheel];
        // Where buttons stay as they were, the last one that waits is not of interest any more.
        let replaces = queue.reports.len() >= 2
            && queue
                .reports
                .iter()
                .rev()
                .take(2)
                .all(|it| it[0] == report[0] && it[5] == 0);
        if replaces || queue.reports.len() >= MOST {
            queue.reports.pop_back();
        }
        queue.put(report);
        drop(queue);
        self.bell.yields();
        true
    }

    /// A key goes down or up, by its scan codes of set 2. `None` where the guest has no driver for the keyboard, or one
    /// that cannot ask; false where it is lost.
    #[must_use]
    pub fn key(&self, scan_codes: &[u8]) -> Option<bool> {
        let queue = locked(&self.keyboard.queue);
        if !self.keyboard.is_read(&queue) {
            return None;
        }
        Some(self.put(queue, scan_codes))
    }

    /// A key goes up that went down here. A guest that cannot ask now finds it up when it can.
    #[must_use]
    pub fn let_go(&self, scan_codes: &[u8]) -> bool {
        let queue = locked(&self.keyboard.queue);
        // One that has no driver has been reset: its keys are up.
        !queue.used || self.put(queue, scan_codes)
    }

    fn put(&self, mut queue: MutexGuard<'_, Queue>, scan_codes: &[u8]) -> bool {
        let mut taken = true;
        let mut move_key = |key, down| {
            let mut report = queue.now.clone();
            press(&mut report, key, down);
            taken &= queue.put(report);
        };
        if scan_codes.first() == Some(&PAUSE) {
            move_key(PAUSE_KEY, true);
            move_key(PAUSE_KEY, false);
        } else if let Some((key, down)) = key_of(scan_codes) {
            move_key(key, down);
        }
        drop(queue);
        self.bell.yields();
        taken
    }
}

/// Changes a keyboard's report.
fn press(report: &mut [u8], key: Key, down: bool) {
    match key {
        Key::Modifier(bit) if down => report[0] |= bit,
        Key::Modifier(bit) => report[0] &= !bit,
        Key::Usage(usage) => {
            let held = &mut report[2..];
            let place = held.iter().position(|it| *it == usage);
            match (down, place) {
                (true, None) => {
                    // The seventh is not seen, as on a keyboard.
                    if let Some(free) = held.iter_mut().find(|it| **it == 0) {
                        *free = usage;
                    }
                }
                (false, Some(at)) => held[at] = 0,
                _ => {}
            }
        }
    }
}
