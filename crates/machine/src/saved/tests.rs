use std::io::ErrorKind;

use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};

use super::{SavedMachine, restore_memory, save_memory};

fn memory() -> GuestMemory {
    let ranges = [
        RamRange {
            base: Gpa(0),
            len: 0x3000,
        },
        RamRange {
            base: Gpa(0x1_0000),
            len: 0x2000,
        },
    ];
    GuestMemory::new(&ranges).expect("a few pages")
}

#[test]
fn memory_comes_back_and_old_content_goes() {
    let (saved, other) = (memory(), memory());
    saved
        .ram()
        .write_obj(7u32, GuestAddress(0x2ffc))
        .expect("RAM");
    saved
        .ram()
        .write_obj(8u32, GuestAddress(0x1_1000))
        .expect("RAM");
    other
        .ram()
        .write_obj(9u32, GuestAddress(0x1000))
        .expect("RAM");
    let mut stream = Vec::new();
    save_memory(&saved, &mut stream).expect("a vector");
    assert_eq!(stream.len(), 2 * (8 + 4096) + 8);
    restore_memory(&other, &mut stream.as_slice()).expect("its own stream");
    let word = |at| other.ram().read_obj::<u32>(GuestAddress(at)).expect("RAM");
    assert_eq!([word(0x2ffc), word(0x1_1000), word(0x1000)], [7, 8, 0]);
}

#[test]
fn damaged_streams_are_refused() {
    let end = u64::MAX.to_le_bytes();
    let page = |at: u64| [at.to_le_bytes().as_slice(), &[1; 4096]].concat();
    let outside = [page(0x8000), end.to_vec()].concat();
    let disordered = [page(0x1000), page(0), end.to_vec()].concat();
    for stream in [outside, disordered] {
        let error = restore_memory(&memory(), &mut stream.as_slice()).expect_err("nonsense");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
    let short = page(0x1000);
    let error = restore_memory(&memory(), &mut &short[..100]).expect_err("too short");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn bytes_from_anywhere_are_no_machine() {
    for bytes in [
        &b""[..],
        b"INNK",
        b"INNK\x01",
        b"INNK\x07\0",
        b"INNK\x01\0\xff\xff",
        b"junk",
    ] {
        assert!(SavedMachine::from_bytes(bytes).is_err(), "{bytes:?}");
    }
}
