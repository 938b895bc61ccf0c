//! A display's commands, most of which make sense, and somebody who looks at what comes of them.

use devices::pci::PciFunction;
use vm_memory::{Bytes, GuestAddress};

use crate::pci::{NOTIFY, memory, rings, save_and_restore, start, talk, virtio};
use crate::{Input, strict};

/// What [`virtio`] counts a display as.
const KIND: u8 = 8;

/// What a driver has in its memory, and the part of a picture that a command is about.
fn request(input: &mut Input<'_>) -> Vec<u8> {
    const KINDS: [u32; 13] = [
        0x100, 0x101, 0x102, 0x103, 0x104, 0x105, 0x105, 0x106, 0x107, 0x10a, 0x300, 0x301, 0x104,
    ];
    let number = |input: &mut Input<'_>| match input.byte() {
        small @ 0..0xe0 => u32::from(small & 0x3f),
        _ => input.u32(),
    };
    let mut words = vec![
        input.choose(&KINDS),
        u32::from(input.byte() & 1),
        9,
        9,
        9,
        0,
    ];
    words.extend((0..4).map(|_| number(input)));
    words.extend((0..4).map(|_| u32::from(input.byte() & 3)));
    // Buffers of pixels, where some are looked for.
    words.extend([0x1_0000, 0, 0x4000, 0, 0x1_8000, 0, number(input), 0]);
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Commands to a display, most of which make sense, and somebody who looks.
pub(crate) fn commands(bytes: &[u8]) {
    strict();
    let mut input = Input::new(bytes);
    let memory = memory();
    let (mut function, hands) = virtio(KIND, &memory);
    start(&mut function, 2);
    let mut count = 0u16;
    while !input.is_empty() {
        let request = request(&mut input);
        let ram = memory.ram();
        let put = |at: u64, bytes: &[u8]| {
            // All of it is in memory.
            let _ = ram.write(bytes, GuestAddress(at));
        };
        let [descriptors, driver, _] = rings(0);
        let buffers = [(0x1_a000u64, request.len(), 1u16), (0x1_b000, 1056, 2)];
        for ((address, len, flags), index) in buffers.into_iter().zip(0u64..) {
            let mut entry = address.to_le_bytes().to_vec();
            entry.extend(u32::try_from(len).unwrap_or(0).to_le_bytes());
            entry.extend(flags.to_le_bytes());
            entry.extend(1u16.to_le_bytes());
            put(descriptors + index * 16, &entry);
        }
        put(0x1_a000, &request);
        count = count.wrapping_add(1);
        put(driver + 2, &count.to_le_bytes());
        function.bar_write(0, NOTIFY, 2, 0);
        // The worker is done with it.
        function.quiesce();
        function.resume();
        match input.byte() & 7 {
            0 => talk(&hands, &mut input),
            1 => save_and_restore(&mut function, &mut input),
            _ => {}
        }
    }
    function.quiesce();
}
