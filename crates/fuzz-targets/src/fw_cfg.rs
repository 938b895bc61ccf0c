//! fw_cfg: its ports in any order, commands in memory, saved and forged states.

use devices::Device;
use machine::fw_cfg::{File, FwCfg, KernelItems};
use vm_memory::{Bytes, GuestAddress};

use crate::Input;
use crate::devices::forge;
use crate::pci::memory;

/// Each may copy sixteen megabytes.
const STEPS: usize = 64;
/// Of the registers: selector, data, and the address's halves; and those between.
const OFFSETS: u64 = 13;
const ADDRESS: u64 = 4;
/// The longest content: of a file that begins in one page and ends in another.
const LONGEST: usize = 0x1800;

fn device(input: &mut Input<'_>) -> FwCfg {
    let content = vec![input.byte(); usize::from(input.u16()) % LONGEST];
    let files = [File {
        name: "etc/file",
        content,
    }];
    let device = FwCfg::new(input.u64(), input.u32() % 256, &files);
    if input.bool() {
        return device;
    }
    device.with_kernel(KernelItems {
        kernel: vec![1; usize::from(input.byte())],
        ..KernelItems::default()
    })
}

pub(crate) fn fw_cfg(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let memory = memory();
    let mut device = device(&mut input);
    if input.bool() {
        device = device.with_dma(memory.clone());
    }
    for _ in 0..STEPS {
        if input.is_empty() {
            return;
        }
        let (offset, size) = (input.number() % OFFSETS, input.choose(&[1, 2, 4, 8]));
        match input.byte() & 7 {
            0 | 1 => drop(device.read(offset, size)),
            2 | 3 => device.write(offset, size, input.number()),
            // A command that makes sense more often than not.
            4 | 5 => {
                let at = input.number();
                let key = input.choose(&[0, 1, 3, 5, 8, 0x11, 0x19, 0x20, 0x8002]);
                let control = u32::from(input.byte()) | key << 16;
                let command = [
                    &control.to_be_bytes()[..],
                    &input.u32().to_be_bytes(),
                    &input.number().to_be_bytes(),
                ];
                // Where there is no memory, none is found.
                let _ = memory
                    .ram()
                    .write_slice(&command.concat(), GuestAddress(at));
                device.write(ADDRESS, 8, at.swap_bytes());
            }
            6 => {
                let saved = device.save();
                device.restore(&saved).expect("its own state");
                assert_eq!(device.save(), saved);
            }
            _ => {
                let mut forged = device.save();
                forge(&mut forged.bytes, &mut input);
                // Older ones are brought up to the present.
                forged.version = u16::from(input.byte() & 3);
                // Refused or taken: what follows is attacked all the same.
                let _ = device.restore(&forged);
            }
        }
    }
}
