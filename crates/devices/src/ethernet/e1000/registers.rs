//! Where the registers of an 82540EM are, and their bits. Spec: the manual's "Register Descriptions".

use std::ops::Range;

pub(super) const CTRL: u64 = 0x0000;
pub(super) const CTRL_LINK_UP: u32 = 1 << 6;
pub(super) const CTRL_RESET: u32 = 1 << 26;
pub(super) const CTRL_VLAN: u32 = 1 << 30;
pub(super) const CTRL_PHY_RESET: u32 = 1 << 31;
/// Full duplex, speed detected.
pub(super) const CTRL_POWER_ON: u32 = 1 | 1 << 5 | 1 << 9;
pub(super) const STATUS: u64 = 0x0008;
/// Full duplex, up, 1000 Mbit/s.
pub(super) const STATUS_UP: u32 = 1 | 1 << 1 | 1 << 7;

pub(super) const EECD: u64 = 0x0010;
pub(super) const EECD_SK: u32 = 1 << 0;
pub(super) const EECD_CS: u32 = 1 << 1;
pub(super) const EECD_DI: u32 = 1 << 2;
pub(super) const EECD_DO_SHIFT: u32 = 3;
pub(super) const EECD_REQUEST: u32 = 1 << 6;
pub(super) const EECD_GRANT: u32 = 1 << 7;
pub(super) const EECD_PRESENT: u32 = 1 << 8;
/// The wires, the flash's bits, the request.
pub(super) const EECD_WRITABLE: u32 = EECD_SK | EECD_CS | EECD_DI | 0b11 << 4 | EECD_REQUEST;
pub(super) const EERD: u64 = 0x0014;
pub(super) const EERD_START: u32 = 1 << 0;
pub(super) const EERD_DONE: u32 = 1 << 4;
pub(super) const EERD_ADDRESS_SHIFT: u32 = 8;

pub(super) const MDIC: u64 = 0x0020;
pub(super) const MDIC_OPERATION: u32 = 0b11 << 26;
pub(super) const MDIC_WRITE: u32 = 0b01 << 26;
pub(super) const MDIC_READ: u32 = 0b10 << 26;
pub(super) const MDIC_READY: u32 = 1 << 28;
pub(super) const MDIC_INTERRUPT: u32 = 1 << 29;
pub(super) const MDIC_ERROR: u32 = 1 << 30;
pub(super) const PHY_ADDRESS: u32 = 1;
/// Marvell's 88E1011, in its revision that the chip has.
pub(super) const PHY_IDENTIFIER: u32 = 0x0141_0c20;
pub(super) const PHY_SPECIFIC_CONTROL: u8 = 16;
/// It finds out which pair of wires is which.
pub(super) const PHY_SPECIFIC_CONTROL_AUTO: u16 = 0x0060;
pub(super) const PHY_SPECIFIC_STATUS: u8 = 17;
/// 1000 Mbit/s, full duplex, resolved, up.
pub(super) const PHY_SPECIFIC_STATUS_UP: u16 = 0b10 << 14 | 1 << 13 | 1 << 11 | 1 << 10;

pub(super) const VET: u64 = 0x0038;
pub(super) const ICR: u64 = 0x00c0;
pub(super) const ICS: u64 = 0x00c8;
pub(super) const IMS: u64 = 0x00d0;
pub(super) const IMC: u64 = 0x00d8;
pub(super) const CAUSE_SENT: u32 = 1 << 0;
pub(super) const CAUSE_ALL_SENT: u32 = 1 << 1;
pub(super) const CAUSE_LINK: u32 = 1 << 2;
pub(super) const CAUSE_FEW_BUFFERS: u32 = 1 << 4;
pub(super) const CAUSE_RECEIVED: u32 = 1 << 7;
pub(super) const CAUSE_MDIO: u32 = 1 << 9;
pub(super) const ALL_CAUSES: u32 = 0x1_ffff;

pub(super) const RCTL: u64 = 0x0100;
pub(super) const RCTL_ENABLE: u32 = 1 << 1;
pub(super) const RCTL_ALL_OWN: u32 = 1 << 3;
pub(super) const RCTL_ALL_GROUPS: u32 = 1 << 4;
pub(super) const RCTL_LONG: u32 = 1 << 5;
pub(super) const RCTL_FEW_SHIFT: u32 = 8;
pub(super) const RCTL_GROUP_SHIFT: u32 = 12;
pub(super) const RCTL_BROADCAST: u32 = 1 << 15;
pub(super) const RCTL_SIZE_SHIFT: u32 = 16;
pub(super) const RCTL_VLAN_FILTER: u32 = 1 << 18;
pub(super) const RCTL_SIZE_TIMES_16: u32 = 1 << 25;
pub(super) const RCTL_STRIP_CHECK: u32 = 1 << 26;
pub(super) const TCTL: u64 = 0x0400;
pub(super) const TCTL_ENABLE: u32 = 1 << 1;
pub(super) const TCTL_PAD: u32 = 1 << 3;

pub(super) const RX_RING: Range<u64> = 0x2800..0x281c;
pub(super) const TX_RING: Range<u64> = 0x3800..0x381c;
/// In a ring.
pub(super) const BASE_LOW: u64 = 0x00;
pub(super) const BASE_HIGH: u64 = 0x04;
pub(super) const LENGTH: u64 = 0x08;
pub(super) const HEAD: u64 = 0x10;
pub(super) const TAIL: u64 = 0x18;

/// Cleared by reading.
pub(super) const COUNTERS: Range<u64> = 0x4000..0x4100;
pub(super) const GOOD_RECEIVED: u64 = 0x4074;
pub(super) const GOOD_SENT: u64 = 0x4080;
pub(super) const GOOD_BYTES_RECEIVED: u64 = 0x4088;
pub(super) const GOOD_BYTES_SENT: u64 = 0x4090;
pub(super) const TOTAL_RECEIVED: u64 = 0x40d0;
pub(super) const TOTAL_SENT: u64 = 0x40d4;

pub(super) const RXCSUM: u64 = 0x5000;
pub(super) const RXCSUM_TRANSPORT: u32 = 1 << 9;
pub(super) const GROUPS: Range<u64> = 0x5200..0x5400;
pub(super) const ADDRESSES: Range<u64> = 0x5400..0x5480;
pub(super) const ADDRESS_VALID: u32 = 1 << 31;
pub(super) const VLANS: Range<u64> = 0x5600..0x5800;

/// Registers that only remember, in their order, with what they are at power-on.
pub(super) const PLAIN: [(u64, u32); 25] = [
    (0x0018, 0),
    (0x0028, 0x00c2_8001),
    (0x002c, 0x0100),
    (0x0030, 0x8808),
    (VET, 0x8100),
    (0x00c4, 0),
    (0x0170, 0),
    (0x0178, 0),
    (0x0180, 0),
    (0x0410, 0x0060_200a),
    (0x0458, 0),
    (0x0e00, 0x0706_8302),
    (0x1000, 0x0010_0030),
    (0x2160, 0),
    (0x2168, 0),
    (0x2820, 0),
    (0x2828, 0x0001_0000),
    (0x282c, 0),
    (0x2c00, 0),
    (0x3820, 0),
    (0x3828, 0),
    (0x382c, 0),
    (0x3830, 0),
    (RXCSUM, 0),
    (0x5820, 0),
];

/// The index of the register at `at` in a table of them.
pub(super) fn index(table: &Range<u64>, at: u64) -> usize {
    usize::try_from((at - table.start) / 4).unwrap_or(usize::MAX)
}
