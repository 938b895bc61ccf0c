use super::{Bells, DeadCode, MOST_DEAD, news};
use crate::Gpa;

#[test]
fn every_bell_hears_the_news_once() {
    let bells = Bells::default();
    let (one, two) = (bells.add(), bells.add());
    bells.ring(news::UNPLAIN);
    one.ring(news::KICK);
    assert_eq!(one.answer(), news::UNPLAIN | news::KICK);
    assert!(!one.rings());
    assert_eq!(two.answer(), news::UNPLAIN);
}

#[test]
fn dead_pages_are_named_until_they_are_too_many() {
    let bells = Bells::default();
    let bell = bells.add();
    bells.code_died(Gpa(0x3000));
    assert_eq!(bell.answer(), news::DEAD_CODE);
    assert_eq!(bell.take_dead(), DeadCode::Pages(vec![Gpa(0x3000)]));
    for _ in 0..=MOST_DEAD {
        bells.code_died(Gpa(0x3000));
    }
    assert_eq!(bell.take_dead(), DeadCode::All);
    assert_eq!(bell.take_dead(), DeadCode::Pages(Vec::new()));
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
