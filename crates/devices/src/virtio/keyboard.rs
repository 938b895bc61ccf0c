//! A keyboard for guests that have a driver for it. All others have that of a PC.
//!
//! Keys come as scan codes of set 2, as they come to a PC's keyboard, so that whoever presses them need
//! not know which of the two the guest reads.

use std::collections::VecDeque;
use std::sync::Arc;

use super::input::{
    About, EV_KEY, EV_SYN, Event, Events, Input, SELECT_EVENTS, Shared, bits, is_input,
};
use crate::i8042::translation;

/// Events that wait.
const MOST: usize = 128;

const EV_LED: u16 = 0x11;
const EV_REP: u16 = 0x14;
/// Num, caps and scroll lock.
const LIGHTS: u16 = 3;
/// Linux's numbers of keys up to the last one that [`EXTENDED`] has.
const KEYS: u16 = 144;

const RELEASE: u8 = 0xf0;
const PREFIX: u8 = 0xe0;
/// Begins what the pause key says, which it says when it goes down.
const PAUSE_PREFIX: u8 = 0xe1;
const KEY_PAUSE: u16 = 119;
/// Up to here Linux's numbers are the codes of set 1.
const SAME: u8 = 0x58;

/// Codes of set 1 behind the prefix, and Linux's numbers.
const EXTENDED: [(u8, u16); 25] = [
    (0x1c, 96),
    (0x1d, 97),
    (0x20, 113),
    (0x2e, 114),
    (0x30, 115),
    (0x35, 98),
    (0x37, 99),
    (0x38, 100),
    (0x47, 102),
    (0x48, 103),
    (0x49, 104),
    (0x4b, 105),
    (0x4d, 106),
    (0x4f, 107),
    (0x50, 108),
    (0x51, 109),
    (0x52, 110),
    (0x53, 111),
    (0x5b, 125),
    (0x5c, 126),
    (0x5d, 127),
    (0x5e, 116),
    (0x5f, 142),
    (0x63, 143),
    (0x46, KEY_PAUSE),
];
/// Those of Asia: katakana and hiragana, ro, henkan, muhenkan, yen.
const OTHERS: [(u8, u16); 5] = [(0x70, 93), (0x73, 89), (0x79, 92), (0x7b, 94), (0x7d, 124)];

const ABOUT: About = About {
    kind: "virtio-keyboard",
    name: b"Innkeeper keyboard",
    class: 0x09_00_00,
    has,
};

fn has(select: u8, subselect: u16) -> Vec<u8> {
    match (select, subselect) {
        (SELECT_EVENTS, EV_KEY) => bits(1..KEYS),
        (SELECT_EVENTS, EV_LED) => bits(0..LIGHTS),
        // Keys that are held repeat, which is the guest's to do.
        (SELECT_EVENTS, EV_REP) => vec![0],
        _ => Vec::new(),
    }
}

/// Linux's number of a key.
fn number(code: u8, extended: bool) -> Option<u16> {
    let code = translation::set_1(code);
    let listed = |table: &[(u8, u16)]| {
        let found = table.iter().find(|(own, _)| *own == code);
        found.map(|(_, number)| *number)
    };
    match code {
        _ if extended => listed(&EXTENDED),
        1..=SAME => Some(code.into()),
        _ => listed(&OTHERS),
    }
}

/// Which keys go down or up, of scan codes of set 2.
fn presses(codes: &[u8]) -> Vec<(u16, bool)> {
    if codes.first() == Some(&PAUSE_PREFIX) {
        return vec![(KEY_PAUSE, true), (KEY_PAUSE, false)];
    }
    let (mut extended, mut released) = (false, false);
    let mut found = Vec::new();
    for code in codes {
        match *code {
            PREFIX => extended = true,
            RELEASE => released = true,
            code => {
                // Print screen says shift as well, which nobody holds: it has no number there.
                found.extend(number(code, extended).map(|number| (number, !released)));
                (extended, released) = (false, false);
            }
        }
    }
    found
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Event>,
}

impl Events for Waiting {
    fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    fn next(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

impl Waiting {
    fn add(&mut self, codes: &[u8]) -> bool {
        let presses = presses(codes);
        let room = MOST - self.events.len().min(MOST);
        if 2 * presses.len() > room {
            return false;
        }
        for (number, down) in presses {
            self.events.push_back((EV_KEY, number, down.into()));
            self.events.push_back((EV_SYN, 0, 0));
        }
        true
    }
}

/// The host's end.
#[derive(Debug, Clone)]
pub struct KeyboardHandle {
    shared: Arc<Shared<Waiting>>,
}

impl KeyboardHandle {
    /// Scan codes of set 2. `None` where the guest has no driver for it: they are for the other one.
    /// `Some(false)` where there is no room for them: they are lost.
    #[must_use]
    pub fn key(&self, codes: &[u8]) -> Option<bool> {
        let used = self.shared.is_used();
        used.then(|| self.shared.add(|waiting| waiting.add(codes)))
    }
}

#[derive(Debug)]
pub struct Keyboard {
    input: Input<Waiting>,
}

impl Keyboard {
    /// # Errors
    /// When the host has no descriptor left.
    pub fn new() -> std::io::Result<Keyboard> {
        Ok(Keyboard {
            input: Input::new(ABOUT)?,
        })
    }

    #[must_use]
    pub fn handle(&self) -> KeyboardHandle {
        KeyboardHandle {
            shared: Arc::clone(&self.input.shared),
        }
    }
}

is_input!(Keyboard);

#[cfg(test)]
mod tests;
