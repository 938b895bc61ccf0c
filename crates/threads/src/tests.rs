use std::cell::Cell;
use std::sync::Mutex;

use crate::{Work, apart, begin, set_rule, spawn};

static BEGUN: Mutex<Vec<(Work, Option<String>)>> = Mutex::new(Vec::new());

thread_local! {
    static WORK: Cell<Option<Work>> = const { Cell::new(None) };
}

fn note(work: Work) {
    WORK.set(Some(work));
    let name = std::thread::current().name().map(str::to_owned);
    BEGUN.lock().unwrap().push((work, name));
}

/// One test: the rule is the process's.
#[test]
fn threads_begin_with_the_rule_and_are_made_apart() {
    assert_eq!(
        spawn(Work::Device, "early", || 1).unwrap().join().unwrap(),
        1
    );
    set_rule(note).unwrap();
    assert!(set_rule(note).is_err());
    let outer = spawn(Work::Processor, "outer", || {
        assert_eq!(WORK.get(), Some(Work::Processor));
        // Wanted by one that has begun, and made by one that has not.
        spawn(Work::Network, "inner", || 2).unwrap().join().unwrap()
    });
    assert_eq!(outer.unwrap().join().unwrap(), 2);
    let maker = apart(|| {
        assert_eq!(WORK.get(), None);
        // Made there, it does not wait for itself.
        spawn(Work::Device, "within", || ())
            .unwrap()
            .join()
            .unwrap();
        std::thread::current().name().map(str::to_owned)
    });
    assert_eq!(maker.as_deref(), Some("threads"));
    begin(Work::Folder);
    let begun = BEGUN.lock().unwrap().clone();
    let kinds: Vec<Work> = begun.iter().map(|(work, _)| *work).collect();
    let expected = [Work::Processor, Work::Network, Work::Device, Work::Folder];
    assert_eq!(kinds, expected);
    assert_eq!(begun[1].1.as_deref(), Some("inner"));
}
