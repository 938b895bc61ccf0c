use super::{CodeMemory, HUGE_PAGE};

fn byte_at(address: u64) -> u8 {
    // SAFETY: an address inside the executable view, which can be read.
    unsafe { *(address as *const u8) }
}

#[test]
fn code_stays_as_it_is_laid_down() {
    let mut memory = CodeMemory::new(2 * HUGE_PAGE + 0x1000).expect("executable memory");
    let mut laid = Vec::new();
    for n in 0.. {
        let (at, code) = (memory.next(), [n as u8; 4000]);
        if !memory.add(&code) {
            break;
        }
        laid.push((at, n as u8));
    }
    assert!(laid.len() > 2 * HUGE_PAGE / 4096);
    for (at, byte) in laid {
        assert_eq!([byte_at(at), byte_at(at + 3999)], [byte, byte]);
    }
}

#[test]
fn what_is_kept_stays_and_the_rest_is_written_over() {
    let mut memory = CodeMemory::new(HUGE_PAGE).expect("executable memory");
    let kept = memory.next();
    assert!(memory.add(&[1; 16]));
    memory.keep();
    let next = memory.next();
    assert!(memory.add(&[2; 16]));
    memory.clear();
    assert_eq!(memory.next(), next);
    assert!(memory.add(&[3; 16]));
    assert_eq!([byte_at(kept), byte_at(next)], [1, 3]);
}
