//! fw_cfg: how firmware and tests read facts about the machine. No DMA.
//!
//! Spec: QEMU docs/specs/fw_cfg.rst, "Register Locations" and "Data Items".

use std::collections::BTreeMap;

use devices::{Device, DeviceState, PortRange, RestoreError, decode_state, encode_state};
use serde::{Deserialize, Serialize};

pub(crate) const PORTS: [PortRange; 1] = [PortRange {
    first: 0x510,
    count: 2,
    offset: 0,
}];

const KIND: &str = "fw-cfg";
const VERSION: u16 = 1;
const SELECTOR: u64 = 0;

const KEY_SIGNATURE: u16 = 0;
const KEY_ID: u16 = 1;
const KEY_RAM_SIZE: u16 = 3;
const KEY_CPU_COUNT: u16 = 5;
const KEY_MAX_CPUS: u16 = 0xf;
const KEY_DIRECTORY: u16 = 0x19;
const KEY_FIRST_FILE: u16 = 0x20;

/// The traditional interface, and no other.
const FEATURES: u32 = 1;
const NAME_LEN: usize = 56;

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FwCfgStateV1 {
    selected: u16,
    /// Bytes of the item that have been read.
    position: u64,
}

/// The device. Items are fixed when it is made.
#[derive(Debug)]
pub(crate) struct FwCfg {
    items: BTreeMap<u16, Vec<u8>>,
    state: FwCfgStateV1,
}

impl FwCfg {
    /// `files` become the file directory. `memory` in bytes.
    pub(crate) fn new(memory: u64, vcpus: u32, files: &[(&str, Vec<u8>)]) -> FwCfg {
        // At most a few hundred.
        let count = (vcpus as u16).to_le_bytes().to_vec();
        let mut items = BTreeMap::from([
            (KEY_SIGNATURE, b"QEMU".to_vec()),
            (KEY_ID, FEATURES.to_le_bytes().to_vec()),
            (KEY_RAM_SIZE, memory.to_le_bytes().to_vec()),
            (KEY_CPU_COUNT, count.clone()),
            (KEY_MAX_CPUS, count),
        ]);
        // Files are named by ourselves, a handful. The directory is big-endian.
        let mut directory = (files.len() as u32).to_be_bytes().to_vec();
        for (key, (name, content)) in (KEY_FIRST_FILE..).zip(files) {
            directory.extend((content.len() as u32).to_be_bytes());
            directory.extend(key.to_be_bytes());
            directory.extend([0; 2]);
            let mut field = [0; NAME_LEN];
            let len = name.len().min(NAME_LEN - 1);
            field[..len].copy_from_slice(&name.as_bytes()[..len]);
            directory.extend(field);
            items.insert(key, content.clone());
        }
        items.insert(KEY_DIRECTORY, directory);
        FwCfg {
            items,
            state: FwCfgStateV1::default(),
        }
    }

    /// The next byte of the item; zero behind its end.
    fn next(&mut self) -> u8 {
        let item = self.items.get(&self.state.selected);
        let position = usize::try_from(self.state.position).ok();
        let byte = item
            .zip(position)
            .and_then(|(item, position)| item.get(position).copied());
        if byte.is_some() {
            self.state.position += 1;
        }
        byte.unwrap_or(0)
    }
}

impl Device for FwCfg {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        // The selector cannot be read; a wide read of it covers the data port as well.
        (0..u64::from(size)).fold(0, |value, index| {
            let byte = if offset + index == SELECTOR {
                0
            } else {
                self.next()
            };
            value | u64::from(byte) << (8 * index)
        })
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        if offset == SELECTOR && size == 2 {
            self.state = FwCfgStateV1 {
                // Two bytes were written.
                selected: value as u16,
                position: 0,
            };
        }
    }

    fn reset(&mut self) {
        self.state = FwCfgStateV1::default();
    }

    fn save(&self) -> DeviceState {
        encode_state(KIND, VERSION, &self.state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        self.state = decode_state(KIND, VERSION, state)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
