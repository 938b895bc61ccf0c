use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Hub, QUEUE};
use crate::Link;

fn rung(link: &impl Link) -> bool {
    let events = link.events().unwrap();
    let mut fds = [PollFd::new(&events, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).unwrap() == 1
}

#[test]
fn a_frame_goes_to_all_others() {
    let hub = Hub::new();
    let [mut a, mut b, mut c] = [0; 3].map(|_| hub.plug().unwrap());
    a.put(b"hello");
    assert!(!rung(&a) && rung(&b) && rung(&c));
    assert_eq!(a.take(), None);
    for link in [&mut b, &mut c] {
        link.turn();
        assert_eq!(link.take().unwrap(), b"hello");
        assert!(link.take().is_none() && !rung(link));
    }
    assert!(b.bell.as_fd().try_clone_to_owned().is_ok());
}

#[test]
fn a_port_alone_hears_itself() {
    let mut alone = Hub::new().plug().unwrap();
    alone.put(b"echo");
    assert_eq!(alone.take().unwrap(), b"echo");
}

#[test]
fn a_port_that_takes_nothing_holds_a_bounded_number() {
    let hub = Hub::new();
    let [mut a, mut b] = [0; 2].map(|_| hub.plug().unwrap());
    for _ in 0..10 * QUEUE {
        a.put(&[0; 60]);
    }
    assert_eq!(std::iter::from_fn(|| b.take()).count(), QUEUE);
}

#[test]
fn a_frame_that_is_not_taken_is_offered_again() {
    let mut alone = Hub::new().plug().unwrap();
    alone.put(b"once");
    assert!(!alone.receive(&mut |_| false));
    assert_eq!(alone.take().unwrap(), b"once");
}
