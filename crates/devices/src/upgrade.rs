//! Saved states of older versions, brought up to the present one, a step from each version to the next.
//!
//! A state whose fields change becomes another type, `…StateV3` for what was `…StateV2`. The old one moves, as it is,
//! into the file `upgrade.rs` beside the device, with `impl From<…StateV2> for …StateV3`, which says what the new
//! fields were before there were any; the steps there get one more. So nobody needs to know of versions that are older
//! than the one that they replace. The registry test keeps a state of each version.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{DeviceState, RestoreError, decode_state, encode_state};

/// Makes a state of one version into one of the next.
pub type Step = fn(&DeviceState) -> Result<DeviceState, RestoreError>;

/// The step between two types.
///
/// # Errors
/// When the state is damaged.
pub fn step<Old, New>(state: &DeviceState) -> Result<DeviceState, RestoreError>
where
    Old: DeserializeOwned,
    New: From<Old> + Serialize,
{
    let old: Old = decode_state(&state.kind, state.version, state)?;
    let next = state.version + 1;
    Ok(encode_state(&state.kind, next, &New::from(old)))
}

/// Unpacks a state value of this kind, and of any version up to `version`, which the steps lead to from version 1 on.
///
/// # Errors
/// When the kind differs, the version is newer or none, or the bytes are not such a value.
pub fn decode_upgraded<T: DeserializeOwned>(
    kind: &str,
    version: u16,
    steps: &[Step],
    state: &DeviceState,
) -> Result<T, RestoreError> {
    debug_assert_eq!(usize::from(version), steps.len() + 1, "{kind}: a step each");
    // Of another kind, or newer: refused as it is.
    if state.kind != kind || !(1..version).contains(&state.version) {
        return decode_state(kind, version, state);
    }
    let missing = &steps[usize::from(state.version) - 1..];
    let mut state = state.clone();
    for step in missing {
        state = step(&state)?;
    }
    decode_state(kind, version, &state)
}

#[cfg(test)]
mod tests;
