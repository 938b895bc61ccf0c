use super::{Bells, MOST_NAMED, Named, news};
use crate::Gpa;

#[test]
fn every_bell_hears_the_news_once() {
    let bells = Bells::default();
    let (one, two) = (bells.add(), bells.add());
    bells.all_unplain();
    one.ring(news::KICK);
    assert_eq!(one.answer(), news::UNPLAIN | news::KICK);
    assert!(!one.rings());
    assert_eq!(two.answer(), news::UNPLAIN);
    assert_eq!(two.take_unplain(), Named::All);
}

#[test]
fn a_vcpu_is_not_told_of_what_it_decodes_itself() {
    let bells = Bells::default();
    let (one, two) = (bells.add(), bells.add());
    bells.unplain(&one, Gpa(0x5000));
    assert!(!one.rings());
    assert_eq!(two.answer(), news::UNPLAIN);
    assert_eq!(two.take_unplain(), Named::Pages(vec![Gpa(0x5000)]));
}

#[test]
fn dead_pages_are_named_until_they_are_too_many() {
    let bells = Bells::default();
    let bell = bells.add();
    bells.code_died(Gpa(0x3000));
    assert_eq!(bell.answer(), news::DEAD_CODE);
    assert_eq!(bell.take_dead(), Named::Pages(vec![Gpa(0x3000)]));
    for _ in 0..=MOST_NAMED {
        bells.code_died(Gpa(0x3000));
    }
    assert_eq!(bell.take_dead(), Named::All);
    assert_eq!(bell.take_dead(), Named::Pages(Vec::new()));
}

#[test]
fn a_vcpu_that_is_gone_leaves_nothing() {
    let bells = Bells::default();
    for _ in 0..100 {
        drop(bells.add());
    }
    let _last = bells.add();
    assert_eq!(bells.bells.lock().expect("not poisoned").len(), 1);
}
