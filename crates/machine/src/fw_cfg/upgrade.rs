//! States of before there was DMA.

use devices::{Step, step};
use serde::{Deserialize, Serialize};

use super::FwCfgStateV2;

pub(super) const STEPS: &[Step] = &[step::<FwCfgStateV1, FwCfgStateV2>];

#[derive(Serialize, Deserialize)]
struct FwCfgStateV1 {
    selected: u16,
    position: u64,
}

impl From<FwCfgStateV1> for FwCfgStateV2 {
    fn from(old: FwCfgStateV1) -> FwCfgStateV2 {
        FwCfgStateV2 {
            selected: old.selected,
            position: old.position,
            // Nobody had begun to write an address.
            dma_high: 0,
        }
    }
}
