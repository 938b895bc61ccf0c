//! Bytes of [`super`] to and from what other engines have.
//! Spec: Linux `arch/x86/include/uapi/asm/kvm.h`; how KVM reads and writes it is in `i8259.c`, `ioapic.c` and
//! `i8254.c` of `arch/x86/kvm`.

use kvm_bindings::{
    KVM_PIT_FLAGS_SPEAKER_DATA_ON, kvm_irqchip, kvm_pit_channel_state, kvm_pit_state2,
};
use rustix::time::{ClockId, clock_gettime};
use x86::chips::{Chips, IoApicRegisters, PicRegisters, PitChannel};
use zerocopy::{FromBytes, IntoBytes};

use super::{CHIPS, DevicesV1};

/// Of `kvm_irqchip`, before the chip's own registers.
const HEADER: usize = 8;
const IOAPIC_ADDRESS: u64 = 0xfec0_0000;
/// Which inputs of each 8259A may be level-triggered.
const ELCR_MASKS: [u8; 2] = [0xf8, 0xde];
/// `init_state` for each initialisation word that comes next.
const INIT_STATES: [(u8, u8); 4] = [(0, 0), (2, 1), (3, 2), (4, 3)];
/// The master's input that the PIT drives.
const PIT_WIRE: u8 = 1 << 0;
/// A counter without a count.
const NO_MODE: u8 = 0xff;
/// Bits of port 61h.
const GATE: u8 = 1 << 0;
const SPEAKER: u8 = 1 << 1;
/// How far an access of two bytes has come. Those of one byte are by the number of the access, 1 or 2.
const HIGH_OF_LATCHED: u8 = 2;
const BOTH: u8 = 3;
const HIGH_OF_BOTH: u8 = 4;

type ChipBytes = [u8; size_of::<kvm_irqchip>()];

impl DevicesV1 {
    pub(super) fn chips(&self) -> Chips {
        let [master, slave, ioapic] = &self.chips;
        let speaker = if self.pit.flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON != 0 {
            SPEAKER
        } else {
            0
        };
        let [.., second] = &self.pit.channels;
        Chips {
            pics: [master, slave].map(|chip| pic_registers(chip.as_bytes())),
            ioapic: ioapic_registers(ioapic.as_bytes()),
            pit: self.pit.channels.map(|channel| pit_channel(&channel)),
            speaker: speaker | if second.gate != 0 { GATE } else { 0 },
            clock: self.clock,
        }
    }

    pub(super) fn of_chips(chips: &Chips) -> DevicesV1 {
        let mut pics = chips.pics;
        // The kernel's PIT only pulses its wire, and waits for ever for the end of an interrupt that was
        // none because the wire was high before.
        pics[0].levels &= !PIT_WIRE;
        let [master, slave] = [0, 1].map(|which| pic_bytes(&pics[which], ELCR_MASKS[which]));
        let bytes = [master, slave, ioapic_bytes(&chips.ioapic)];
        let mut all = bytes.map(|bytes| {
            // As many bytes as there are, and any bits are a chip's.
            kvm_irqchip::read_from_bytes(&bytes).unwrap_or_default()
        });
        for (chip, id) in all.iter_mut().zip(CHIPS) {
            chip.chip_id = id;
        }
        let flags = u32::from(chips.speaker & SPEAKER != 0) * KVM_PIT_FLAGS_SPEAKER_DATA_ON;
        DevicesV1 {
            chips: all,
            pit: kvm_pit_state2 {
                channels: chips.pit.map(|channel| kvm_channel(&channel)),
                flags,
                ..kvm_pit_state2::default()
            },
            clock: chips.clock,
        }
    }
}

/// The bytes at `at`; zeros where there are none.
fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.copied().unwrap_or([0; N])
}

fn pic_registers(bytes: &[u8]) -> PicRegisters {
    let [
        levels,
        irr,
        imr,
        isr,
        first,
        vector_base,
        read_isr,
        poll,
        special_mask,
        init_state,
        auto_eoi,
        rotate,
        special_nested,
        wants_icw4,
        elcr,
    ] = take(bytes, HEADER);
    let expects = INIT_STATES.iter().find(|(_, state)| *state == init_state);
    PicRegisters {
        levels,
        irr,
        imr,
        isr,
        elcr,
        first: first & 7,
        vector_base,
        expects: expects.map_or(0, |(word, _)| *word),
        wants_icw4: wants_icw4 != 0,
        read_isr: read_isr != 0,
        poll: poll != 0,
        special_mask: special_mask != 0,
        special_nested: special_nested != 0,
        auto_eoi: auto_eoi != 0,
        rotate_on_auto_eoi: rotate != 0,
    }
}

fn pic_bytes(chip: &PicRegisters, elcr_mask: u8) -> ChipBytes {
    let state = INIT_STATES.iter().find(|(word, _)| *word == chip.expects);
    let registers = [
        chip.levels,
        chip.irr,
        chip.imr,
        chip.isr,
        chip.first & 7,
        chip.vector_base,
        u8::from(chip.read_isr),
        u8::from(chip.poll),
        u8::from(chip.special_mask),
        state.map_or(0, |(_, state)| *state),
        u8::from(chip.auto_eoi),
        u8::from(chip.rotate_on_auto_eoi),
        u8::from(chip.special_nested),
        u8::from(chip.wants_icw4),
        chip.elcr & elcr_mask,
        elcr_mask,
    ];
    placed(&registers)
}

/// A chip with these registers. What is longer than it is cut off.
fn placed(registers: &[u8]) -> ChipBytes {
    let mut bytes = [0; size_of::<kvm_irqchip>()];
    for (place, byte) in bytes.iter_mut().skip(HEADER).zip(registers) {
        *place = *byte;
    }
    bytes
}

fn ioapic_registers(bytes: &[u8]) -> IoApicRegisters {
    let word = |at| u32::from_le_bytes(take(bytes, HEADER + at));
    let entry = |pin| u64::from_le_bytes(take(bytes, HEADER + 24 + 8 * pin));
    let low = |word: u32| word.to_le_bytes()[0];
    IoApicRegisters {
        select: low(word(8)),
        id: low(word(12)),
        levels: word(16),
        table: std::array::from_fn(entry),
    }
}

fn ioapic_bytes(chip: &IoApicRegisters) -> ChipBytes {
    let mut registers = IOAPIC_ADDRESS.to_le_bytes().to_vec();
    for word in [chip.select.into(), chip.id.into(), chip.levels, 0] {
        registers.extend(u32::to_le_bytes(word));
    }
    registers.extend(chip.table.iter().flat_map(|entry| entry.to_le_bytes()));
    placed(&registers)
}

/// How long it has counted is not known: the time of its beginning is the kernel's.
fn pit_channel(channel: &kvm_pit_channel_state) -> PitChannel {
    let high_of_both = channel.read_state == HIGH_OF_BOTH;
    let latched = channel.count_latched != 0;
    PitChannel {
        mode: Some(channel.mode).filter(|mode| *mode <= 5),
        count: channel.count,
        bcd: channel.bcd != 0,
        gate: channel.gate != 0,
        access: channel.rw_mode,
        read_high: if latched {
            channel.rw_mode == BOTH && channel.count_latched == HIGH_OF_LATCHED
        } else {
            high_of_both
        },
        low_written: (channel.write_state == HIGH_OF_BOTH).then_some(channel.write_latch),
        latched: latched.then_some(channel.latched_count),
        status: (channel.status_latched != 0).then_some(channel.status),
        elapsed: 0,
    }
}

fn kvm_channel(channel: &PitChannel) -> kvm_pit_channel_state {
    let both = channel.access == BOTH;
    let reading = match (both, channel.read_high) {
        (true, true) => HIGH_OF_BOTH,
        _ => channel.access,
    };
    let latched = match (channel.latched, both && channel.read_high) {
        (None, _) => 0,
        (Some(_), true) => HIGH_OF_LATCHED,
        (Some(_), false) => channel.access,
    };
    let writing = if channel.low_written.is_some() {
        HIGH_OF_BOTH
    } else {
        channel.access
    };
    kvm_pit_channel_state {
        count: channel.count,
        latched_count: channel.latched.unwrap_or(0),
        count_latched: latched,
        status_latched: u8::from(channel.status.is_some()),
        status: channel.status.unwrap_or(0),
        read_state: reading,
        write_state: writing,
        write_latch: channel.low_written.unwrap_or(0),
        rw_mode: channel.access,
        mode: channel.mode.unwrap_or(NO_MODE),
        bcd: u8::from(channel.bcd),
        gate: u8::from(channel.gate),
        count_load_time: since(channel.elapsed),
    }
}

/// When something began on the kernel's clock that is so old, in nanoseconds.
fn since(elapsed: u64) -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    let now = now
        .tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec);
    now.saturating_sub_unsigned(elapsed)
}

#[cfg(test)]
mod tests;
