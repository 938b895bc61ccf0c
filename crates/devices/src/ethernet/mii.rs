//! The registers that every PHY has: a link that is up, at full duplex, agreed upon long ago.
//! Spec: IEEE 802.3, clause 22, "Management functions".

use serde::{Deserialize, Serialize};

pub(super) const CONTROL: u8 = 0;
pub(super) const STATUS: u8 = 1;
const IDENTIFIER: u8 = 2;
pub(super) const ADVERTISED: u8 = 4;
pub(super) const PARTNER: u8 = 5;
pub(super) const EXPANSION: u8 = 6;
const GIGABIT_CONTROL: u8 = 9;
const GIGABIT_STATUS: u8 = 10;
const EXTENDED_STATUS: u8 = 15;

const RESET: u16 = 1 << 15;
const RESTART: u16 = 1 << 9;
const NEGOTIATE: u16 = 1 << 12;
const FULL_DUPLEX: u16 = 1 << 8;
const SPEED_100: u16 = 1 << 13;
const SPEED_1000: u16 = 1 << 6;

/// All of 10 and 100 Mbit/s, agreed, can negotiate, up, more registers.
const STATUS_UP: u16 = 0x782d;
const STATUS_EXTENDED: u16 = 1 << 8;
/// All of 10 and 100 Mbit/s, by IEEE 802.3.
const ALL_OLD: u16 = 0x01e1;
const PARTNER_ACKNOWLEDGES: u16 = 1 << 14;
const GIGABIT_FULL: u16 = 1 << 9;
/// Both receivers are well, and the partner can do both duplexes.
const GIGABIT_WELL: u16 = 0x3c00;
const EXTENDED_GIGABIT: u16 = 0x3000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Phy {
    gigabit: bool,
    identifier: u32,
    control: u16,
    advertised: u16,
    gigabit_control: u16,
}

impl Phy {
    pub(super) fn new(identifier: u32, gigabit: bool) -> Phy {
        let speed = if gigabit { SPEED_1000 } else { SPEED_100 };
        Phy {
            gigabit,
            identifier,
            control: NEGOTIATE | FULL_DUPLEX | speed,
            advertised: ALL_OLD,
            gigabit_control: if gigabit { GIGABIT_FULL } else { 0 },
        }
    }

    pub(super) fn read(&self, register: u8) -> u16 {
        let [a, b, c, d] = self.identifier.to_be_bytes();
        match register {
            CONTROL => self.control,
            STATUS if self.gigabit => STATUS_UP | STATUS_EXTENDED,
            STATUS => STATUS_UP,
            IDENTIFIER => u16::from_be_bytes([a, b]),
            3 => u16::from_be_bytes([c, d]),
            ADVERTISED => self.advertised,
            PARTNER => ALL_OLD | PARTNER_ACKNOWLEDGES,
            EXPANSION => 1,
            GIGABIT_CONTROL => self.gigabit_control,
            GIGABIT_STATUS if self.gigabit => GIGABIT_WELL,
            EXTENDED_STATUS if self.gigabit => EXTENDED_GIGABIT,
            _ => 0,
        }
    }

    /// Answers whether the link is made anew by it.
    pub(super) fn write(&mut self, register: u8, value: u16) -> bool {
        match register {
            CONTROL if value & RESET != 0 => {
                *self = Phy::new(self.identifier, self.gigabit);
                return true;
            }
            CONTROL => {
                self.control = value & !RESTART;
                return value & (NEGOTIATE | RESTART) == NEGOTIATE | RESTART;
            }
            ADVERTISED => self.advertised = value,
            GIGABIT_CONTROL if self.gigabit => self.gigabit_control = value,
            _ => {}
        }
        false
    }

    /// Takes the registers of a saved one of the same kind.
    pub(super) fn is_like(&self, other: &Phy) -> bool {
        (self.gigabit, self.identifier) == (other.gigabit, other.identifier)
    }
}
