use super::{GLOBAL, NOBODY, NUMBERS, Spaces};

#[test]
fn a_space_keeps_its_number_until_it_is_forgotten() {
    let mut spaces = Spaces::new();
    let first = spaces.number;
    assert!(spaces.enter(7));
    let seventh = spaces.number;
    assert_ne!(first, seventh);
    assert!(spaces.enter(0));
    assert_eq!(spaces.number, first);
    spaces.forget(7);
    // Nothing is known of it now.
    spaces.forget(7);
    assert_eq!(spaces.number_of(7), None);
    assert!(spaces.enter(7));
    assert!(![first, seventh].contains(&spaces.number));
    let dead = |number: u64| spaces.dead[number as usize / 64] >> (number % 64) & 1 != 0;
    assert!(dead(seventh) && !dead(first) && !dead(spaces.number) && !dead(0));
}

#[test]
fn numbers_run_out_and_begin_again() {
    let mut spaces = Spaces::new();
    let mut given = 0;
    while given < 2 * NUMBERS {
        spaces.forget(3);
        if !spaces.enter(3) {
            break;
        }
        assert!(spaces.number < NOBODY.min(GLOBAL) && spaces.number != 0);
        given += 1;
    }
    // One was the first space's.
    assert_eq!(given, NUMBERS - 2);
    spaces.forget_all();
    assert_eq!(spaces.number_of(3), Some(1));
    assert_eq!(spaces.number_of(0), None);
}

#[test]
fn forgetting_each_forgets_the_current_one_too() {
    let mut spaces = Spaces::new();
    let first = spaces.number;
    spaces.forget_each();
    assert!(spaces.enter(0));
    assert_ne!(spaces.number, first);
    assert_eq!(spaces.dead[0], 1 << first);
}
