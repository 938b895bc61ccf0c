//! The I/O APIC to and from what other engines have.

use x86::chips::IoApicRegisters;

use super::{IoApicStateV1, KIND, STATE_VERSION, entry};
use crate::{DeviceState, RestoreError, decode_state, encode_state};

/// What a redirection entry may hold: what is written, and whether it is in service.
const ENTRY: u64 =
    (entry::WRITABLE_HIGH as u64) << 32 | entry::WRITABLE_LOW as u64 | entry::REMOTE_IRR;

/// What a saved I/O APIC holds.
///
/// # Errors
/// When it is no saved I/O APIC.
pub fn registers(state: &DeviceState) -> Result<IoApicRegisters, RestoreError> {
    let state: IoApicStateV1 = decode_state(KIND, STATE_VERSION, state)?;
    let level = |pin: &usize| state.table[*pin] & entry::LEVEL != 0;
    let levels = (0..state.table.len()).filter(level);
    Ok(IoApicRegisters {
        id: state.id,
        select: state.select,
        levels: levels.fold(0, |levels, pin| levels | 1 << pin) & state.levels,
        table: state.table,
    })
}

/// One as it would have been saved.
#[must_use]
pub fn saved(registers: &IoApicRegisters) -> DeviceState {
    let state = IoApicStateV1 {
        id: registers.id & 0xf,
        select: registers.select,
        levels: registers.levels & 0xff_ffff,
        table: registers.table.map(|entry| entry & ENTRY),
    };
    encode_state(KIND, STATE_VERSION, &state)
}
