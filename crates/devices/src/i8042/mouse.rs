//! A PS/2 mouse with wheel and five buttons (IntelliMouse Explorer).
//!
//! Spec: IBM PS/2 Hardware Interface Technical Reference, "Mouse"; for the wheel the sequences of
//! sample rates by which Microsoft's drivers ask for it: 200, 100, 80 and then 200, 200, 80.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

const ACK: u8 = 0xfa;
const NACK: u8 = 0xfe;

const SET_RESOLUTION: u8 = 0xe8;
const SET_RATE: u8 = 0xf3;

const BUFFER: usize = 64;
/// Movement that waits to be told is kept up to this much.
const FURTHEST: i32 = 4096;

/// What the hand did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct MouseEvent {
    /// To the right, in counts.
    pub right: i32,
    /// Towards the person, in counts.
    pub down: i32,
    /// The wheel, towards the person.
    pub wheel: i32,
    /// Held buttons: bit 0 left, 1 right, 2 middle, 3 and 4 the side ones.
    pub buttons: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mouse {
    queue: VecDeque<u8>,
    reporting: bool,
    remote: bool,
    /// Echoes everything.
    wrap: bool,
    scaling: bool,
    resolution: u8,
    rate: u8,
    /// The last three sample rates.
    knock: [u8; 3],
    /// 0 plain, 3 with wheel, 4 with five buttons.
    identity: u8,
    command: Option<u8>,
    buttons: u8,
    told_buttons: u8,
    right: i32,
    up: i32,
    wheel: i32,
}

impl Default for Mouse {
    fn default() -> Mouse {
        Mouse {
            queue: VecDeque::new(),
            reporting: false,
            remote: false,
            wrap: false,
            scaling: false,
            resolution: 2,
            rate: 100,
            knock: [0; 3],
            identity: 0,
            command: None,
            buttons: 0,
            told_buttons: 0,
            right: 0,
            up: 0,
            wheel: 0,
        }
    }
}

/// Takes from `left` what fits a packet's field.
fn take(left: &mut i32, smallest: i32, largest: i32) -> i32 {
    let part = (*left).clamp(smallest, largest);
    *left -= part;
    part
}

fn byte(value: i32) -> u8 {
    value.to_le_bytes()[0]
}

impl Mouse {
    pub(super) fn sanitise(&mut self) {
        self.queue.truncate(BUFFER);
        for way in [&mut self.right, &mut self.up, &mut self.wheel] {
            *way = (*way).clamp(-FURTHEST, FURTHEST);
        }
    }

    pub(super) fn moved(&mut self, event: MouseEvent) {
        let add = |way: &mut i32, more: i32| {
            *way = way.saturating_add(more).clamp(-FURTHEST, FURTHEST);
        };
        add(&mut self.right, event.right);
        add(&mut self.up, event.down.saturating_neg());
        add(&mut self.wheel, event.wheel);
        self.buttons = event.buttons & 0x1f;
        self.report();
    }

    /// Tells of movement while there is some, there is room, and the host listens.
    fn report(&mut self) {
        if !self.reporting || self.remote || self.wrap {
            return;
        }
        if self.identity == 0 {
            self.wheel = 0;
        }
        while self.queue.len() + 4 <= BUFFER && self.has_news() {
            self.packet();
        }
    }

    fn has_news(&self) -> bool {
        self.right != 0 || self.up != 0 || self.wheel != 0 || self.buttons != self.told_buttons
    }

    fn packet(&mut self) {
        let right = take(&mut self.right, -255, 255);
        let up = take(&mut self.up, -255, 255);
        self.told_buttons = self.buttons;
        let signs = u8::from(right < 0) << 4 | u8::from(up < 0) << 5;
        self.queue.push_back(self.buttons & 7 | 1 << 3 | signs);
        self.queue.push_back(byte(right));
        self.queue.push_back(byte(up));
        match self.identity {
            0 => {}
            4 => {
                let wheel = byte(take(&mut self.wheel, -8, 7)) & 0xf;
                self.queue.push_back(wheel | (self.buttons & 0x18) << 1);
            }
            _ => {
                let wheel = take(&mut self.wheel, -128, 127);
                self.queue.push_back(byte(wheel));
            }
        }
    }

    /// The next byte that it sends.
    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = self.queue.pop_front();
        if self.queue.is_empty() {
            self.report();
        }
        byte
    }

    fn reply(&mut self, bytes: &[u8]) {
        self.queue.extend(bytes);
    }

    fn forget_movement(&mut self) {
        self.right = 0;
        self.up = 0;
        self.wheel = 0;
    }

    fn defaults(&mut self) {
        *self = Mouse {
            buttons: self.buttons,
            told_buttons: self.buttons,
            identity: self.identity,
            ..Mouse::default()
        };
    }

    fn status(&self) -> u8 {
        // Left is bit 2, middle bit 1, right bit 0.
        let buttons = (self.buttons & 1) << 2 | self.buttons >> 1 & 2 | self.buttons >> 1 & 1;
        buttons
            | u8::from(self.scaling) << 4
            | u8::from(self.reporting) << 5
            | u8::from(self.remote) << 6
    }

    /// A byte from the host. It ends what the mouse was saying.
    pub(super) fn write(&mut self, value: u8) {
        self.queue.clear();
        if self.wrap && !matches!(value, 0xec | 0xff) {
            self.reply(&[value]);
            return;
        }
        match self.command.take() {
            Some(SET_RATE) => self.set_rate(value),
            Some(_) => {
                self.resolution = value & 3;
                self.reply(&[ACK]);
            }
            None => self.command(value),
        }
    }

    fn set_rate(&mut self, rate: u8) {
        self.rate = rate;
        let [_, second, third] = self.knock;
        self.knock = [second, third, rate];
        match self.knock {
            [200, 100, 80] => self.identity = self.identity.max(3),
            [200, 200, 80] if self.identity >= 3 => self.identity = 4,
            _ => {}
        }
        self.reply(&[ACK]);
    }

    fn command(&mut self, value: u8) {
        self.reply(&[if (0xe6..=0xff).contains(&value) {
            ACK
        } else {
            NACK
        }]);
        match value {
            0xe6 | 0xe7 => self.scaling = value == 0xe7,
            SET_RESOLUTION | SET_RATE => self.command = Some(value),
            0xe9 => self.reply(&[self.status(), self.resolution, self.rate]),
            0xea | 0xf0 => {
                self.remote = value == 0xf0;
                self.forget_movement();
            }
            0xeb => self.packet(),
            0xec | 0xee => self.wrap = value == 0xee,
            0xf2 => self.reply(&[self.identity]),
            0xf4 | 0xf5 => {
                self.reporting = value == 0xf4;
                self.forget_movement();
            }
            0xf6 => {
                self.defaults();
                self.reply(&[ACK]);
            }
            0xff => {
                self.defaults();
                self.identity = 0;
                self.reply(&[ACK, 0xaa, 0x00]);
            }
            _ => {}
        }
    }
}
