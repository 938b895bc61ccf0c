//! A PS/2 keyboard with 102 keys.
//!
//! Spec: IBM PS/2 Hardware Interface Technical Reference, "101- and 102-Key Keyboard". Scan code
//! set 3 is not offered; the keyboard refuses it as those without it do.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::translation::Translator;

const ACK: u8 = 0xfa;
const RESEND: u8 = 0xfe;
const ECHO: u8 = 0xee;
const TEST_PASSED: u8 = 0xaa;
const IDENTITY: [u8; 2] = [0xab, 0x83];

const SET_LEDS: u8 = 0xed;
const SCAN_CODE_SET: u8 = 0xf0;
const TYPEMATIC: u8 = 0xf3;

/// What a real keyboard buffers, in bytes.
const BUFFER: usize = 16;
const MAX_REPLIES: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Keyboard {
    replies: VecDeque<u8>,
    codes: VecDeque<u8>,
    scanning: bool,
    /// 1 or 2.
    set: u8,
    leds: u8,
    typematic: u8,
    /// The command whose argument comes next.
    command: Option<u8>,
    last: u8,
    /// Only for scan code set 1.
    translator: Translator,
}

impl Default for Keyboard {
    fn default() -> Keyboard {
        Keyboard {
            replies: VecDeque::new(),
            codes: VecDeque::new(),
            scanning: true,
            set: 2,
            leds: 0,
            typematic: 0x2b,
            command: None,
            last: 0,
            translator: Translator::default(),
        }
    }
}

impl Keyboard {
    pub(super) fn sanitise(&mut self) {
        self.replies.truncate(MAX_REPLIES);
        self.codes.truncate(BUFFER);
        self.set = self.set.clamp(1, 2);
    }

    pub(super) fn key(&mut self, scancodes: &[u8]) -> bool {
        if !self.scanning {
            return true;
        }
        if self.codes.len() + scancodes.len() > BUFFER {
            return false;
        }
        for &code in scancodes {
            let code = if self.set == 1 {
                self.translator.translate(code)
            } else {
                Some(code)
            };
            self.codes.extend(code);
        }
        true
    }

    /// The next byte that it sends.
    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = self.replies.pop_front().or_else(|| self.codes.pop_front());
        self.last = byte.unwrap_or(self.last);
        byte
    }

    fn reply(&mut self, bytes: &[u8]) {
        self.replies.extend(bytes);
    }

    fn defaults(&mut self) {
        let scanning = self.scanning;
        *self = Keyboard {
            scanning,
            last: self.last,
            ..Keyboard::default()
        };
    }

    /// A byte from the host. It ends what the keyboard was saying.
    pub(super) fn write(&mut self, value: u8) {
        self.replies.clear();
        if let Some(command) = self.command.take() {
            // Arguments have bit 7 clear; anything else is a new command.
            if value & 0x80 == 0 {
                self.argument(command, value);
                return;
            }
        }
        match value {
            SET_LEDS | SCAN_CODE_SET | TYPEMATIC => {
                self.command = Some(value);
                self.reply(&[ACK]);
            }
            ECHO => self.reply(&[ECHO]),
            0xf2 => self.reply(&[ACK, IDENTITY[0], IDENTITY[1]]),
            0xf4 => {
                self.codes.clear();
                self.scanning = true;
                self.reply(&[ACK]);
            }
            0xf5 | 0xf6 => {
                self.defaults();
                self.scanning = value == 0xf6;
                self.reply(&[ACK]);
            }
            // Which keys repeat or tell of their release: only in set 3.
            0xf7..=0xfd => self.reply(&[ACK]),
            RESEND => self.reply(&[self.last]),
            0xff => {
                self.defaults();
                self.scanning = true;
                self.reply(&[ACK, TEST_PASSED]);
            }
            _ => self.reply(&[RESEND]),
        }
    }

    fn argument(&mut self, command: u8, value: u8) {
        match (command, value) {
            (SCAN_CODE_SET, 0) => self.reply(&[ACK, self.set]),
            (SCAN_CODE_SET, 1 | 2) => {
                self.set = value;
                self.reply(&[ACK]);
            }
            (SCAN_CODE_SET, _) => self.reply(&[RESEND]),
            (SET_LEDS, _) => {
                self.leds = value & 7;
                self.reply(&[ACK]);
            }
            _ => {
                self.typematic = value;
                self.reply(&[ACK]);
            }
        }
    }
}
