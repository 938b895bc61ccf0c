use std::sync::Arc;
use std::thread;

use engine::{Exit, Place, Whereabouts};
use memory::Gpa;

use super::{ExitCounts, PERIOD, Sampler, Times};

#[test]
fn exits_are_counted_by_reason() {
    let mut counts = ExitCounts::default();
    for _ in 0..3 {
        counts.count(&Exit::MmioRead {
            gpa: Gpa(0),
            size: 4,
        });
    }
    counts.count(&Exit::Halted);
    assert_eq!(counts.named(), [("MMIO read", 3), ("halt", 1)]);
}

#[test]
fn samples_say_where_a_thread_was() {
    let place = Arc::new(Whereabouts::default());
    let mut times = [Times::default()];
    place.set(Place::Guest);
    thread::scope(|scope| {
        let sampler = Sampler::start(scope, vec![Arc::clone(&place)], &mut times).unwrap();
        thread::sleep(PERIOD * 5);
        sampler.stop();
    });
    let named = times[0].named();
    assert_eq!(named.len(), 1);
    assert_eq!(named[0].0, "guest");
    assert!(named[0].1 >= PERIOD * 4, "{named:?}");
}

#[test]
fn every_place_is_known_by_its_byte() {
    let place = Whereabouts::default();
    for known in Place::ALL {
        place.set(known);
        assert_eq!(place.get(), known);
        assert_eq!(Place::ALL[known as usize], known);
    }
}
