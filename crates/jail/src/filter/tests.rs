use super::{SELF, Work, of_this_process, thread};

#[test]
fn a_program_speaks_of_this_process_where_it_was_of_any() {
    for work in Work::ALL {
        let any = thread(work).unwrap();
        let own = of_this_process(any);
        let places = |number| move |step: &&seccompiler::sock_filter| step.k == number;
        // Whom it may signal: kill and tgkill.
        assert_eq!(any.iter().filter(places(SELF)).count(), 2, "{work:?}");
        assert_eq!(own.iter().filter(places(SELF)).count(), 0, "{work:?}");
        let changed = any.iter().zip(&own).filter(|(any, own)| any.k != own.k);
        assert!(
            changed.clone().all(|(_, own)| own.k == std::process::id()),
            "{work:?}"
        );
        assert_eq!(changed.count(), 2, "{work:?}");
    }
}
