use super::{CodeMemory, Section};
use crate::translate::huge_pages_raw::HUGE_PAGE;

fn byte_at(address: u64) -> u8 {
    // SAFETY: an address inside the executable view, which can be read.
    unsafe { *(address as *const u8) }
}

#[test]
fn code_stays_as_it_is_laid_down() {
    let mut memory = CodeMemory::new(6 * HUGE_PAGE + 0x1000).expect("executable memory");
    let mut laid = Vec::new();
    for n in 0.. {
        let [hot, cold] = [Section::Hot, Section::Cold].map(|section| memory.next(section));
        if !memory.add(&[n as u8; 4000], &[!n as u8; 4000]) {
            break;
        }
        laid.extend([(hot, n as u8), (cold, !n as u8)]);
    }
    assert!(laid.len() > 4 * HUGE_PAGE / 4096);
    for (at, byte) in laid {
        assert_eq!([byte_at(at), byte_at(at + 3999)], [byte, byte]);
    }
}

#[test]
fn what_is_kept_stays_and_the_rest_is_written_over() {
    let mut memory = CodeMemory::new(2 * HUGE_PAGE).expect("executable memory");
    let kept = memory.next(Section::Hot);
    assert!(memory.add(&[1; 16], &[]));
    memory.keep();
    let next = [Section::Hot, Section::Cold].map(|section| memory.next(section));
    assert!(memory.add(&[2; 16], &[4; 16]));
    memory.clear();
    let again = [Section::Hot, Section::Cold].map(|section| memory.next(section));
    assert_eq!(again, next);
    assert!(memory.add(&[3; 16], &[5; 16]));
    let bytes = [kept, next[0], next[1]].map(byte_at);
    assert_eq!(bytes, [1, 3, 5]);
}
