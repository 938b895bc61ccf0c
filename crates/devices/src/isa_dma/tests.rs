use std::sync::{Arc, Mutex};

use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};

use super::{DmaChannel, IsaDma};
use crate::Device;
use crate::ports::locked;

fn bench() -> (Arc<Mutex<IsaDma>>, DmaChannel, GuestMemory) {
    let ram = RamRange {
        base: Gpa(0),
        len: 0x4_0000,
    };
    let memory = GuestMemory::new(&[ram]).unwrap();
    let controller = Arc::new(Mutex::new(IsaDma::new()));
    let channel = DmaChannel::new(Arc::clone(&controller), 2, memory.clone());
    (controller, channel, memory)
}

/// As firmware programs channel 2: mode, address 0x2_fffe in its page, count.
fn program(controller: &Mutex<IsaDma>, mode: u64, count: u64) {
    let mut controller = locked(controller);
    for (port, value) in [
        (0x0a, 6),
        (0x0c, 0),
        (0x04, 0xfe),
        (0x04, 0xff),
        (0x0c, 0),
        (0x05, count & 0xff),
        (0x05, count >> 8),
        (0x0b, mode),
        (0x40 + 1, 2),
        (0x0a, 2),
    ] {
        controller.write(port, 1, value);
    }
}

#[test]
fn a_device_gives_as_much_as_the_count_says_and_wraps_in_its_page() {
    let (controller, channel, memory) = bench();
    program(&controller, 0x46, 2);
    assert_eq!(channel.give(&[1, 2, 3, 4]), (3, true));
    let byte = |at| memory.ram().read_obj::<u8>(GuestAddress(at)).unwrap();
    assert_eq!([0x2_fffe, 0x2_ffff, 0x2_0000].map(byte), [1, 2, 3]);
    // Its count is over: the channel is masked, and its status says so once.
    assert_eq!(channel.give(&[5]), (0, false));
    let mut controller = locked(&controller);
    assert_eq!((controller.read(8, 1), controller.read(8, 1)), (4, 0));
}

#[test]
fn a_device_takes_only_what_goes_its_way() {
    let (controller, channel, memory) = bench();
    memory.ram().write_obj(7u8, GuestAddress(0x2_fffe)).unwrap();
    program(&controller, 0x46, 0);
    assert_eq!(channel.take(&mut [0]), (0, false));
    program(&controller, 0x5a, 0);
    let mut byte = [0];
    assert_eq!(channel.take(&mut byte), (1, true));
    assert_eq!(byte, [7]);
    // It began anew.
    assert_eq!(channel.take(&mut byte), (1, true));
}

#[test]
fn a_wide_channel_moves_words_in_pages_of_128_kib() {
    let (controller, _, memory) = bench();
    let channel = DmaChannel::new(Arc::clone(&controller), 5, memory.clone());
    // Two words at 0x3_fffe, which go on at the page's begin. The lowest bit of a page is none.
    for (port, value) in [
        (0x20 + 2 * 0x0a, 5),
        (0x20 + 2 * 0x0c, 0),
        (0x20 + 2 * 2, 0xff),
        (0x20 + 2 * 2, 0xff),
        (0x20 + 2 * 3, 1),
        (0x20 + 2 * 3, 0),
        (0x20 + 2 * 0x0b, 0x49),
        (0x40 + 0x0b, 3),
        (0x20 + 2 * 0x0a, 1),
    ] {
        locked(&controller).write(port, 1, value);
    }
    let put = |at, word: [u8; 2]| memory.ram().write_obj(word, GuestAddress(at)).unwrap();
    put(0x3_fffe, [1, 2]);
    put(0x2_0000, [3, 4]);
    let mut bytes = [0; 7];
    assert_eq!(channel.take(&mut bytes[..3]), (2, false));
    assert_eq!(channel.take(&mut bytes[2..]), (2, true));
    assert_eq!(bytes, [1, 2, 3, 4, 0, 0, 0]);
}
