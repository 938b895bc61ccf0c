//! Where the registers of an RTL8139 are, and their bits. Spec: the datasheet's "Register Descriptions".

use crate::ethernet::mii;

pub(super) const GROUPS: u64 = 0x08;
pub(super) const SENT: u64 = 0x10;
pub(super) const SENT_LEN: u32 = 0x1fff;
/// The driver's; clear, the card has it to send.
pub(super) const SENT_OWN: u32 = 1 << 13;
pub(super) const SENT_WELL: u32 = 1 << 15;
/// The length, whose it is, and the threshold.
pub(super) const SENT_WRITABLE: u32 = 0x003f_3fff;
pub(super) const PLACES: u64 = 0x20;
pub(super) const BUFFER: u64 = 0x30;
pub(super) const COMMAND: u64 = 0x37;
pub(super) const COMMAND_SEND: u8 = 1 << 2;
pub(super) const COMMAND_RECEIVE: u8 = 1 << 3;
pub(super) const COMMAND_RESET: u8 = 1 << 4;
pub(super) const READ: u64 = 0x38;
/// The first byte of the ring.
pub(super) const READ_AT_RESET: u16 = 0xfff0;
/// Where the driver reads is this behind what it says.
pub(super) const READ_AHEAD: u16 = 16;
pub(super) const WRITTEN: u64 = 0x3a;
pub(super) const MASK: u64 = 0x3c;
pub(super) const CAUSES: u64 = 0x3e;
pub(super) const CAUSE_RECEIVED: u16 = 1 << 0;
pub(super) const CAUSE_SENT: u16 = 1 << 2;
pub(super) const TRANSMIT: u64 = 0x40;
/// An RTL8139C.
pub(super) const TRANSMIT_REVISION: u32 = 0x7400_0000;
pub(super) const TRANSMIT_WRITABLE: u32 = 0x0307_07f1;
pub(super) const RECEIVE: u64 = 0x44;
pub(super) const RECEIVE_ALL_OWN: u32 = 1 << 0;
pub(super) const RECEIVE_OWN: u32 = 1 << 1;
pub(super) const RECEIVE_GROUPS: u32 = 1 << 2;
pub(super) const RECEIVE_BROADCAST: u32 = 1 << 3;
/// A frame goes on behind the ring's end.
pub(super) const RECEIVE_BEYOND: u32 = 1 << 7;
pub(super) const RECEIVE_SIZE_SHIFT: u32 = 11;
pub(super) const RECEIVE_WRITABLE: u32 = 0x0f03_ffbf;
pub(super) const EEPROM: u64 = 0x50;
pub(super) const EEPROM_DO: u8 = 1 << 0;
pub(super) const EEPROM_DI: u8 = 1 << 1;
pub(super) const EEPROM_SK: u8 = 1 << 2;
pub(super) const EEPROM_CS: u8 = 1 << 3;
pub(super) const EEPROM_MODE: u8 = 0b1100_0000;
pub(super) const EEPROM_LOAD: u8 = 0b0100_0000;
pub(super) const EEPROM_BY_WIRE: u8 = 0b1000_0000;
/// CONFIG0 to CONFIG4, and what lies between.
pub(super) const FIRST_SETTING: u64 = 0x51;
pub(super) const SETTINGS: usize = 10;
pub(super) const MEDIUM: u64 = 0x58;
/// Auxiliary power; the link is up, at 100 Mbit/s.
pub(super) const MEDIUM_UP: u8 = 1 << 4;
pub(super) const SUMMARY: u64 = 0x60;
pub(super) const PHY_CONTROL: u64 = 0x62;
pub(super) const PHY_ADVERTISED: u64 = 0x66;
/// Those from [`PHY_CONTROL`] on.
pub(super) const PHY_REGISTERS: [u8; 5] = [
    mii::CONTROL,
    mii::STATUS,
    mii::ADVERTISED,
    mii::PARTNER,
    mii::EXPANSION,
];

/// Where registers that are written begin, and their bytes.
pub(super) const SPANS: [(u64, u64); 46] = spans();

const fn spans() -> [(u64, u64); 46] {
    let mut spans = [(0, 1); 46];
    let mut next = 0;
    // The address and the groups are bytes.
    let mut at = 0;
    while at < 0x10 {
        if at < 6 || at >= GROUPS {
            spans[next] = (at, 1);
            next += 1;
        }
        at += 1;
    }
    while at < COMMAND - 3 {
        spans[next] = (at, 4);
        next += 1;
        at += 4;
    }
    let others = [
        (COMMAND, 1),
        (READ, 2),
        (MASK, 2),
        (CAUSES, 2),
        (TRANSMIT, 4),
        (RECEIVE, 4),
        (EEPROM, 1),
        (0x51, 1),
        (0x52, 1),
        (0x53, 1),
        (0x54, 1),
        (0x55, 1),
        (0x56, 1),
        (0x57, 1),
        (0x58, 1),
        (0x59, 1),
        (0x5a, 1),
        (PHY_CONTROL, 2),
        (PHY_ADVERTISED, 2),
    ];
    let mut index = 0;
    while index < others.len() {
        spans[next] = others[index];
        next += 1;
        index += 1;
    }
    // What is left stands for a register that is there once already: none.
    while next < spans.len() {
        spans[next] = (0x100, 1);
        next += 1;
    }
    spans
}
