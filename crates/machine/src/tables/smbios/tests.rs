use super::{END, ENTRY_LEN, SmbiosRequest, build};
use crate::layout::GIB;

#[test]
fn the_structures_can_be_walked_to_the_end() {
    let request = SmbiosRequest {
        memory: 5 * GIB,
        processors: 300,
        uuid: [7; 16],
    };
    let (_, bytes) = build(&request);
    let sum = bytes[..ENTRY_LEN]
        .iter()
        .fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    assert_eq!(sum, 0);
    let (mut at, mut kinds) = (ENTRY_LEN, Vec::new());
    while at < bytes.len() {
        kinds.push(bytes[at]);
        at += usize::from(bytes[at + 1]);
        while bytes[at..at + 2] != [0, 0] {
            at += 1;
        }
        at += 2;
    }
    assert_eq!(at, bytes.len());
    assert_eq!(kinds, [0, 1, 3, 4, 16, 17, 19, 19, 32, END]);
}
