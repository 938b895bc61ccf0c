//! A pair of chips to and from what other engines have.

use x86::chips::PicRegisters;

use super::{Chip, ELCR_WRITABLE, Expect, KIND, PicStateV1, VERSION};
use crate::{DeviceState, RestoreError, decode_state, encode_state};

/// ICW3 of each chip on a PC: the master's input with the slave, and the slave's number.
const CASCADE: [u8; 2] = [1 << super::CASCADE, super::CASCADE];

fn out_of(chip: &Chip) -> PicRegisters {
    PicRegisters {
        levels: chip.levels,
        irr: chip.irr,
        imr: chip.imr,
        isr: chip.isr,
        elcr: chip.elcr,
        first: chip.first & 7,
        vector_base: chip.vector_base,
        expects: match chip.expect {
            Expect::Operation => 0,
            Expect::Icw2 => 2,
            Expect::Icw3 => 3,
            Expect::Icw4 => 4,
        },
        wants_icw4: chip.wants_icw4,
        read_isr: chip.read_isr,
        poll: chip.poll,
        special_mask: chip.special_mask,
        special_nested: chip.special_nested,
        auto_eoi: chip.auto_eoi,
        rotate_on_auto_eoi: chip.rotate_on_auto_eoi,
    }
}

fn into(registers: &PicRegisters, which: usize) -> Chip {
    Chip {
        levels: registers.levels,
        irr: registers.irr,
        imr: registers.imr,
        isr: registers.isr,
        elcr: registers.elcr & ELCR_WRITABLE[which],
        first: registers.first & 7,
        vector_base: registers.vector_base & 0xf8,
        expect: match registers.expects {
            2 => Expect::Icw2,
            3 => Expect::Icw3,
            4 => Expect::Icw4,
            _ => Expect::Operation,
        },
        wants_icw4: registers.wants_icw4,
        read_isr: registers.read_isr,
        poll: registers.poll,
        special_mask: registers.special_mask,
        special_nested: registers.special_nested,
        auto_eoi: registers.auto_eoi,
        rotate_on_auto_eoi: registers.rotate_on_auto_eoi,
        single: false,
        cascade: CASCADE[which],
    }
}

/// What a saved pair holds: master and slave.
///
/// # Errors
/// When it is no saved pair.
pub fn registers(state: &DeviceState) -> Result<[PicRegisters; 2], RestoreError> {
    let state: PicStateV1 = decode_state(KIND, VERSION, state)?;
    Ok([out_of(&state.master), out_of(&state.slave)])
}

/// A pair as it would have been saved. Other chips than a PC's, alone or otherwise cascaded, become
/// a PC's.
#[must_use]
pub fn saved([master, slave]: &[PicRegisters; 2]) -> DeviceState {
    let state = PicStateV1 {
        master: into(master, 0),
        slave: into(slave, 1),
    };
    encode_state(KIND, VERSION, &state)
}
