//! Addresses for devices to read from and write to: good ones, and all the others.

use crate::random::Random;

/// RAM below belongs to this program.
pub(crate) const ARENA: u64 = 4 << 20;
/// Above queues, whose words would be numbers of pages to a balloon.
const FREE: u64 = ARENA + 0x2_0000;
const LAPIC: u64 = 0xfee0_0000;
const IOAPIC: u64 = 0xfec0_0000;
const ECAM: u64 = 0xe000_0000;
const WINDOW: u64 = 0xc000_0000;
const WINDOW_64: u64 = 0x4_0000_0000;
const VGA: u64 = 0xa_0000;
const ROM: u64 = 0xfffc_0000;

pub(crate) struct Places {
    /// Where RAM below 4 GiB ends.
    pub(crate) end: u64,
    /// Regions of devices: where they are and how long they are.
    pub(crate) regions: [(u64, u64); MOST_REGIONS],
    pub(crate) count: usize,
}

const MOST_REGIONS: usize = 64;

impl Places {
    pub(crate) fn new(end: u64) -> Places {
        Places {
            end,
            regions: [(0, 0); MOST_REGIONS],
            count: 0,
        }
    }

    pub(crate) fn add(&mut self, base: u64, len: u64) {
        if self.count < MOST_REGIONS {
            self.regions[self.count] = (base, len);
            self.count += 1;
        }
    }

    /// Somewhere in RAM that nobody needs, at a multiple of `align`.
    pub(crate) fn ram(&self, random: &Random, align: u64) -> u64 {
        (FREE + random.below(self.end - FREE - 0x1_0000)) & !(align - 1)
    }

    /// Some register of some device.
    pub(crate) fn register(&self, random: &Random) -> u64 {
        match (random.below(8), self.count) {
            (0, _) => LAPIC + random.below(0x1000),
            (1, _) => IOAPIC + random.below(0x1000),
            (_, 0) => ECAM + random.below(1 << 20),
            (_, count) => {
                let (base, len) = self.regions[random.below(count as u64) as usize];
                base + random.below(len)
            }
        }
    }

    /// Anything that a device might be told to read or write.
    pub(crate) fn wild(&self, random: &Random) -> u64 {
        match random.below(16) {
            0..=4 => self.ram(random, 1),
            5..=7 => self.register(random),
            8 => self.end - random.below(0x2000),
            9 => self.end + random.below(0x1000_0000),
            10 => {
                random.pick(&[VGA, ECAM, WINDOW, WINDOW_64, ROM, IOAPIC, LAPIC])
                    + random.below(0x1000)
            }
            11 => random.pick(&[1 << 32, 1 << 40, 1 << 52, 1 << 63]) + random.below(0x1000),
            12 => u64::MAX - random.below(0x1_0000),
            13 => 0xffff_ffff - random.below(0x1_0000),
            14 => VGA + random.below(0x1_0000),
            _ => match random.odd() {
                // Not this program, which would be the end of it.
                address if address < ARENA => address + ARENA,
                address => address,
            },
        }
    }

    /// The same in 32 bits.
    pub(crate) fn wild32(&self, random: &Random) -> u64 {
        match self.wild(random) & 0xffff_ffff {
            address if address < ARENA && !(VGA..VGA + 0x1_0000).contains(&address) => {
                address | ARENA
            }
            address => address,
        }
    }
}
