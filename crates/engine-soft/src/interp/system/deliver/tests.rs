use x86::Exception;
use x86::exception::vector;

use super::{TripleFault, after};

fn double() -> Result<Exception, TripleFault> {
    Ok(Exception::with_code(vector::DF, 0))
}

#[test]
fn contributory_after_contributory_is_a_double_fault() {
    let divide = Exception::plain(vector::DE);
    assert_eq!(after(divide, Exception::gp(8)), double());
    assert_eq!(after(Exception::gp(0), divide), double());
}

#[test]
fn a_page_fault_joins_with_both_kinds() {
    let page = Exception::page_fault(2, 0x1000);
    assert_eq!(after(page, page), double());
    assert_eq!(after(page, Exception::gp(0)), double());
    // The other way round they are handled one after the other.
    assert_eq!(after(Exception::gp(0), page), Ok(page));
}

#[test]
fn benign_exceptions_are_handled_in_turn() {
    let undefined = Exception::plain(vector::UD);
    assert_eq!(
        after(undefined, Exception::gp(0x33)),
        Ok(Exception::gp(0x33))
    );
    assert_eq!(after(Exception::gp(0), undefined), Ok(undefined));
}

#[test]
fn any_fault_during_a_double_fault_is_a_triple_fault() {
    let double = Exception::with_code(vector::DF, 0);
    let debug = Exception::plain(vector::DB);
    assert_eq!(after(double, debug), Err(TripleFault));
}
