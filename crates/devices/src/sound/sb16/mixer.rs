//! The CT1745 mixer: registers that are kept, and where the card's interrupt and DMA are chosen.
//! Spec: Creative, "Sound Blaster Series Hardware Programming Guide", "Mixer Chip CT1745".

use serde::{Deserialize, Serialize};

/// A write resets the mixer.
const RESET: u8 = 0x00;
const IRQ_SETUP: u8 = 0x80;
const DMA_SETUP: u8 = 0x81;
const IRQ_STATUS: u8 = 0x82;
const COUNT: usize = 0x48;

/// What is not zero after a reset: volumes in their middle, outputs and inputs that are on.
const AFTER_RESET: [(u8, u8); 13] = [
    (0x30, 0xc0),
    (0x31, 0xc0),
    (0x32, 0xc0),
    (0x33, 0xc0),
    (0x34, 0xc0),
    (0x35, 0xc0),
    (0x3c, 0x1f),
    (0x3d, 0x15),
    (0x3e, 0x0b),
    (0x44, 0x80),
    (0x45, 0x80),
    (0x46, 0x80),
    (0x47, 0x80),
];

/// Registers of older cards that are two of this one's, left and right by their upper bits.
const PAIRS: [(u8, u8); 5] = [
    (0x04, 0x32),
    (0x22, 0x30),
    (0x26, 0x34),
    (0x28, 0x36),
    (0x2e, 0x38),
];

/// What the bits of both setups choose.
pub(super) const IRQS: [u8; 4] = [9, 5, 7, 10];
const NARROW: [u8; 3] = [0, 1, 3];
const WIDE: [u8; 3] = [5, 6, 7];
const IRQ_5: u8 = 1 << 1;
const DMA_1_AND_5: u8 = 1 << 1 | 1 << 5;
const DMA_WRITABLE: u8 = 0xeb;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mixer {
    index: u8,
    registers: Vec<u8>,
    irq: u8,
    dma: u8,
}

impl Mixer {
    pub(super) fn power_on() -> Mixer {
        let mut mixer = Mixer {
            index: 0,
            registers: Vec::new(),
            irq: IRQ_5,
            dma: DMA_1_AND_5,
        };
        mixer.reset();
        mixer
    }

    /// Which interrupt and channels the card has stays as it was chosen.
    fn reset(&mut self) {
        self.registers = vec![0; COUNT];
        for (at, value) in AFTER_RESET {
            self.registers[usize::from(at)] = value;
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self.registers.len() {
            COUNT => Ok(()),
            other => Err(format!("{other} registers of a mixer")),
        }
    }

    /// Which of [`IRQS`] the card interrupts by.
    pub(super) fn irq(&self) -> Option<usize> {
        (0..IRQS.len()).find(|bit| self.irq & 1 << bit != 0)
    }

    pub(super) fn narrow_channel(&self) -> Option<u8> {
        NARROW.into_iter().find(|bit| self.dma & 1 << bit != 0)
    }

    /// Words go by the narrow channel where no wide one is chosen.
    pub(super) fn wide_channel(&self) -> Option<u8> {
        let wide = WIDE.into_iter().find(|bit| self.dma & 1 << bit != 0);
        wide.or_else(|| self.narrow_channel())
    }

    pub(super) fn select(&mut self, index: u8) {
        self.index = index;
    }

    pub(super) fn selected(&self) -> u8 {
        self.index
    }

    /// `pending` is the interrupt status, which is not the mixer's own.
    pub(super) fn read(&self, pending: u8) -> u8 {
        let at = |index: u8| self.registers.get(usize::from(index)).copied();
        match self.index {
            IRQ_SETUP => self.irq,
            DMA_SETUP => self.dma,
            IRQ_STATUS => pending,
            index => match PAIRS.iter().find(|(old, _)| *old == index) {
                Some((_, left)) => at(*left).unwrap_or(0) & 0xf0 | at(left + 1).unwrap_or(0) >> 4,
                None => at(index).unwrap_or(0xff),
            },
        }
    }

    pub(super) fn write(&mut self, value: u8) {
        match self.index {
            RESET => self.reset(),
            IRQ_SETUP => self.irq = value & 0xf,
            DMA_SETUP => self.dma = value & DMA_WRITABLE,
            index => match PAIRS.iter().find(|(old, _)| *old == index) {
                Some((_, left)) => {
                    self.put(*left, value & 0xf0);
                    self.put(left + 1, value << 4);
                }
                None => self.put(index, value),
            },
        }
    }

    fn put(&mut self, index: u8, value: u8) {
        if let Some(register) = self.registers.get_mut(usize::from(index)) {
            *register = value;
        }
    }
}
