//! What a PC's interrupt controllers and its timer hold, for machines that go from an engine that
//! has them to one that has not, and back. (Local APICs go with their processors:
//! [`ApicState`](crate::ApicState).)
//!
//! Fields are those of the chips, so far as programs can tell. Spec: Intel 8259A, 82C54 and 82093AA
//! datasheets.

/// One 8259A.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PicRegisters {
    /// Levels of the inputs.
    pub levels: u8,
    pub irr: u8,
    pub imr: u8,
    pub isr: u8,
    /// Which inputs are level-triggered.
    pub elcr: u8,
    /// The input of highest priority, 0 to 7.
    pub first: u8,
    pub vector_base: u8,
    /// The initialisation word that comes next, 2 to 4; 0 for none.
    pub expects: u8,
    pub wants_icw4: bool,
    pub read_isr: bool,
    pub poll: bool,
    pub special_mask: bool,
    pub special_nested: bool,
    pub auto_eoi: bool,
    pub rotate_on_auto_eoi: bool,
}

/// The I/O APIC.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct IoApicRegisters {
    pub id: u8,
    pub select: u8,
    /// Pins that are high and level-triggered, bit n for pin n.
    pub levels: u32,
    /// Redirection entries.
    pub table: [u64; 24],
}

/// One counter of the 8254.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PitChannel {
    /// 0 to 5; absent before a count was written.
    pub mode: Option<u8>,
    /// 1 to 65536.
    pub count: u32,
    pub bcd: bool,
    pub gate: bool,
    /// Which bytes of the count a port access carries, 1 to 3.
    pub access: u8,
    /// The next read of a two-byte count gives the high byte.
    pub read_high: bool,
    /// The low byte of a two-byte write of which the high byte is still to come.
    pub low_written: Option<u8>,
    pub latched: Option<u16>,
    pub status: Option<u8>,
    /// How long it has counted, in nanoseconds.
    pub elapsed: u64,
}

/// All that lies outside of the processors.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Chips {
    /// Master and slave.
    pub pics: [PicRegisters; 2],
    pub ioapic: IoApicRegisters,
    pub pit: [PitChannel; 3],
    /// Port 61h as written: the gate of channel 2, the speaker.
    pub speaker: u8,
    /// The guest's clock, in nanoseconds.
    pub clock: u64,
}
