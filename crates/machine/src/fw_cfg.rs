//! fw_cfg: how firmware and tests read facts about the machine, byte by byte or by DMA.
//!
//! Spec: QEMU docs/specs/fw_cfg.rst, "Register Locations", "Data Items", "Guest-side DMA Interface".

mod dma;
mod upgrade;

use std::collections::BTreeMap;

use devices::{Device, DeviceState, PortRange, RestoreError, decode_upgraded, encode_state};
use memory::GuestMemory;
use serde::{Deserialize, Serialize};

/// Selector and data, and the DMA address; the latter only where there is DMA.
pub(crate) const PORTS: [PortRange; 2] = [
    PortRange {
        first: 0x510,
        count: 2,
        offset: 0,
    },
    PortRange {
        first: 0x514,
        count: 8,
        offset: DMA_HIGH,
    },
];

const KIND: &str = "fw-cfg";
const VERSION: u16 = 2;
const SELECTOR: u64 = 0;
const DATA: u64 = 1;
/// The address register, most significant half first.
const DMA_HIGH: u64 = 4;
const DMA_LOW: u64 = 8;
/// What the address register reads as.
const DMA_SIGNATURE: [u8; 8] = *b"QEMU CFG";

const KEY_SIGNATURE: u16 = 0;
const KEY_ID: u16 = 1;
const KEY_RAM_SIZE: u16 = 3;
const KEY_CPU_COUNT: u16 = 5;
const KEY_MAX_CPUS: u16 = 0xf;
const KEY_KERNEL_SIZE: u16 = 0x08;
const KEY_INITRD_SIZE: u16 = 0x0b;
const KEY_KERNEL: u16 = 0x11;
const KEY_INITRD: u16 = 0x12;
const KEY_COMMAND_LINE_SIZE: u16 = 0x14;
const KEY_COMMAND_LINE: u16 = 0x15;
const KEY_DIRECTORY: u16 = 0x19;
const KEY_FIRST_FILE: u16 = 0x20;
/// ISA interrupt 0 is input 2 of the I/O APIC.
const KEY_IRQ0_OVERRIDE: u16 = 0x8002;

const FEATURE_TRADITIONAL: u32 = 1 << 0;
const FEATURE_DMA: u32 = 1 << 1;
const NAME_LEN: usize = 56;

/// A kernel that UEFI firmware starts as a program of its own, and what it gets.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct KernelItems {
    pub kernel: Vec<u8>,
    pub initrd: Vec<u8>,
    pub command_line: String,
}

/// A file of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub name: &'static str,
    pub content: Vec<u8>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FwCfgStateV2 {
    selected: u16,
    /// Bytes of the item that have been read.
    position: u64,
    /// The upper half of the address, while the lower one is awaited.
    dma_high: u32,
}

/// The device. Items are fixed when it is made.
#[derive(Debug)]
pub struct FwCfg {
    items: BTreeMap<u16, Vec<u8>>,
    /// Where DMA goes; without, there is none.
    memory: Option<GuestMemory>,
    state: FwCfgStateV2,
}

impl FwCfg {
    /// `files` become the file directory. `memory` in bytes.
    pub fn new(memory: u64, vcpus: u32, files: &[File]) -> FwCfg {
        // At most a few hundred.
        let count = (vcpus as u16).to_le_bytes().to_vec();
        let mut items = BTreeMap::from([
            (KEY_SIGNATURE, b"QEMU".to_vec()),
            (KEY_ID, FEATURE_TRADITIONAL.to_le_bytes().to_vec()),
            (KEY_RAM_SIZE, memory.to_le_bytes().to_vec()),
            (KEY_CPU_COUNT, count.clone()),
            (KEY_MAX_CPUS, count),
            (KEY_IRQ0_OVERRIDE, vec![1]),
        ]);
        // Files are named by ourselves, a handful. The directory is big-endian.
        let mut directory = (files.len() as u32).to_be_bytes().to_vec();
        for (key, file) in (KEY_FIRST_FILE..).zip(files) {
            directory.extend((file.content.len() as u32).to_be_bytes());
            directory.extend(key.to_be_bytes());
            directory.extend([0; 2]);
            let mut field = [0; NAME_LEN];
            let len = file.name.len().min(NAME_LEN - 1);
            field[..len].copy_from_slice(&file.name.as_bytes()[..len]);
            directory.extend(field);
            items.insert(key, file.content.clone());
        }
        items.insert(KEY_DIRECTORY, directory);
        FwCfg {
            items,
            memory: None,
            state: FwCfgStateV2::default(),
        }
    }

    /// With DMA to this memory.
    #[must_use]
    pub fn with_dma(mut self, memory: GuestMemory) -> FwCfg {
        let features = FEATURE_TRADITIONAL | FEATURE_DMA;
        self.items.insert(KEY_ID, features.to_le_bytes().to_vec());
        self.memory = Some(memory);
        self
    }

    /// With a kernel for firmware that boots one. Its setup part is not told apart, which only a BIOS needs.
    #[must_use]
    pub fn with_kernel(mut self, items: KernelItems) -> FwCfg {
        let mut command_line = items.command_line.into_bytes();
        command_line.push(0);
        for (size_key, key, bytes) in [
            (KEY_KERNEL_SIZE, KEY_KERNEL, items.kernel),
            (KEY_INITRD_SIZE, KEY_INITRD, items.initrd),
            (KEY_COMMAND_LINE_SIZE, KEY_COMMAND_LINE, command_line),
        ] {
            // Files of so many bytes are refused before.
            let size = (bytes.len() as u32).to_le_bytes();
            self.items.insert(size_key, size.to_vec());
            self.items.insert(key, bytes);
        }
        self
    }

    fn select(&mut self, key: u16) {
        self.state.selected = key;
        self.state.position = 0;
    }

    /// What is left of the selected item.
    fn rest(&self) -> &[u8] {
        let item = self.items.get(&self.state.selected);
        let position = usize::try_from(self.state.position).ok();
        let rest = item
            .zip(position)
            .and_then(|(item, position)| item.get(position..));
        rest.unwrap_or_default()
    }

    fn skip(&mut self, count: u64) {
        let left = self.rest().len() as u64;
        self.state.position += count.min(left);
    }

    /// The next byte of the item; zero behind its end.
    fn next(&mut self) -> u8 {
        let byte = self.rest().first().copied();
        self.skip(1);
        byte.unwrap_or(0)
    }

    fn byte(&mut self, offset: u64) -> u8 {
        match (offset, &self.memory) {
            (DATA..DMA_HIGH, _) => self.next(),
            (DMA_HIGH..=0xb, Some(_)) => DMA_SIGNATURE[(offset - DMA_HIGH) as usize],
            // The selector cannot be read.
            (SELECTOR, _) => 0,
            _ => 0xff,
        }
    }
}

impl Device for FwCfg {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        // A wide read of the selector covers the data port as well.
        (0..u64::from(size)).fold(0, |value, index| {
            value | u64::from(self.byte(offset + index)) << (8 * index)
        })
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        match (offset, size) {
            // Two bytes were written.
            (SELECTOR, 2) => self.select(value as u16),
            // The register is big-endian.
            (DMA_HIGH, 4) => self.state.dma_high = (value as u32).swap_bytes(),
            (DMA_LOW, 4) => {
                let high = u64::from(std::mem::take(&mut self.state.dma_high));
                self.transfer(high << 32 | u64::from((value as u32).swap_bytes()));
            }
            (DMA_HIGH, 8) => self.transfer(value.swap_bytes()),
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.state = FwCfgStateV2::default();
    }

    fn save(&self) -> DeviceState {
        encode_state(KIND, VERSION, &self.state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        self.state = decode_upgraded(KIND, VERSION, upgrade::STEPS, state)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
