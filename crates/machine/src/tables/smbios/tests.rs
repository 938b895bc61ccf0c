use super::{END, ENTRY_LEN, SmbiosRequest, build, files};
use crate::layout::GIB;

const REQUEST: SmbiosRequest = SmbiosRequest {
    memory: 5 * GIB,
    processors: 300,
    uuid: [7; 16],
};

fn sum(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

/// Where each structure begins, and where the last one ends.
fn walk(bytes: &[u8]) -> Vec<usize> {
    let mut starts = vec![0];
    let mut at = 0;
    while at < bytes.len() {
        at += usize::from(bytes[at + 1]);
        while bytes[at..at + 2] != [0, 0] {
            at += 1;
        }
        at += 2;
        starts.push(at);
    }
    starts
}

#[test]
fn the_structures_can_be_walked_to_the_end() {
    let (_, bytes) = build(&REQUEST);
    assert_eq!(sum(&bytes[..ENTRY_LEN]), 0);
    let structures = &bytes[ENTRY_LEN..];
    let mut starts = walk(structures);
    assert_eq!(starts.pop(), Some(structures.len()));
    let kinds: Vec<u8> = starts.iter().map(|at| structures[*at]).collect();
    assert_eq!(kinds, [0, 1, 3, 4, 16, 17, 19, 19, 32, END]);
}

#[test]
fn firmware_has_an_entry_point_that_old_systems_know() {
    let files = files(&REQUEST);
    let (anchor, starts) = (&files.anchor, walk(&files.tables));
    let word = |at: usize| usize::from(u16::from_le_bytes([anchor[at], anchor[at + 1]]));
    assert_eq!(&anchor[..4], b"_SM_");
    assert_eq!(&anchor[16..21], b"_DMI_");
    assert_eq!((anchor.len(), usize::from(anchor[5])), (31, 31));
    assert_eq!((sum(anchor), sum(&anchor[16..])), (0, 0));
    assert_eq!(word(22), files.tables.len());
    assert_eq!(word(28), starts.len() - 1);
    let longest = starts.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert_eq!(Some(word(8)), longest);
}
