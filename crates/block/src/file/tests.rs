use std::cell::Cell;
use std::fs::TryLockError;

use super::patiently;

#[test]
fn a_lock_that_is_let_go_in_a_moment_is_waited_for() {
    let left = Cell::new(3);
    let lock = || match left.get() {
        0 => Ok(()),
        tries => {
            left.set(tries - 1);
            Err(TryLockError::WouldBlock)
        }
    };
    patiently(lock).unwrap();
    assert!(matches!(
        patiently(|| Err(TryLockError::WouldBlock)),
        Err(TryLockError::WouldBlock)
    ));
}
