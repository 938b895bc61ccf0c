use serde::{Deserialize, Serialize};

use super::{Step, decode_upgraded, step};
use crate::{RestoreError, encode_state};

const KIND: &str = "lamp";

#[derive(Serialize, Deserialize)]
struct LampStateV1 {
    on: bool,
}

#[derive(Serialize, Deserialize)]
struct LampStateV2 {
    percent: u8,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct LampStateV3 {
    percent: u8,
    colour: u32,
}

impl From<LampStateV1> for LampStateV2 {
    fn from(old: LampStateV1) -> LampStateV2 {
        LampStateV2 {
            percent: if old.on { 100 } else { 0 },
        }
    }
}

impl From<LampStateV2> for LampStateV3 {
    fn from(old: LampStateV2) -> LampStateV3 {
        LampStateV3 {
            percent: old.percent,
            colour: 0xff_ffff,
        }
    }
}

const STEPS: &[Step] = &[
    step::<LampStateV1, LampStateV2>,
    step::<LampStateV2, LampStateV3>,
];

#[test]
fn each_version_goes_through_all_that_came_later() {
    let white = |percent| LampStateV3 {
        percent,
        colour: 0xff_ffff,
    };
    for (state, expected) in [
        (encode_state(KIND, 1, &LampStateV1 { on: true }), white(100)),
        (encode_state(KIND, 2, &LampStateV2 { percent: 7 }), white(7)),
        (encode_state(KIND, 3, &white(9)), white(9)),
    ] {
        assert_eq!(decode_upgraded(KIND, 3, STEPS, &state), Ok(expected));
    }
}

#[test]
fn what_is_newer_or_damaged_or_of_another_is_refused() {
    let read = |kind, version, bytes: &[u8]| {
        let mut state = encode_state(kind, version, &());
        state.bytes = bytes.to_vec();
        decode_upgraded::<LampStateV3>(KIND, 3, STEPS, &state).unwrap_err()
    };
    for version in [0, 4] {
        let refused = read(KIND, version, &[1]);
        assert!(matches!(refused, RestoreError::Version { .. }), "{refused}");
    }
    let refused = read("toaster", 1, &[1]);
    assert!(matches!(refused, RestoreError::Kind { .. }), "{refused}");
    for (version, bytes) in [(1, &[7_u8][..]), (1, &[]), (2, &[])] {
        let refused = read(KIND, version, bytes);
        assert!(matches!(refused, RestoreError::Damaged { .. }), "{refused}");
    }
}
