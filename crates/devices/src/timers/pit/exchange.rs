//! The timer to and from what other engines have.

use x86::chips::PitChannel;

use super::{CONTROL_WRITABLE, Channel, FREQUENCY, KIND, PitStateV1, VERSION};
use crate::timers::ticks_at;
use crate::{DeviceState, RestoreError, decode_state, encode_state};

/// What a saved timer holds at that time of the machine's clock, in nanoseconds: its channels, and
/// port 61h.
///
/// # Errors
/// When it is no saved timer.
pub fn channels(state: &DeviceState, now: u64) -> Result<([PitChannel; 3], u8), RestoreError> {
    let mut state: PitStateV1 = decode_state(KIND, VERSION, state)?;
    let tick = ticks_at(now, FREQUENCY);
    for channel in &mut state.channels {
        channel.sanitise();
        channel.advance(state.served.min(tick), tick);
    }
    let out = state.channels.map(|channel| channel.registers(tick));
    Ok((out, state.control))
}

/// A timer as it would have been saved at that time.
#[must_use]
pub fn saved(channels: &[PitChannel; 3], speaker: u8, now: u64) -> DeviceState {
    let tick = ticks_at(now, FREQUENCY);
    let state = PitStateV1 {
        channels: channels.map(|channel| Channel::of_registers(&channel, tick)),
        control: speaker & CONTROL_WRITABLE,
        served: tick,
    };
    encode_state(KIND, VERSION, &state)
}
