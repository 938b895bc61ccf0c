//! What is asked of the kernel, by a stand-in that writes it down; and the kernel itself where it is there.

mod kernel;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::{
    Heard, LentRing, MemoryTable, Requests, RingPlace, Signal, Vhost, VhostError, testing_raw,
};

/// Indices that the stand-in's rings have come to.
const BASES: [u16; 2] = [7, 0xffff];
const FEATURES: u64 = 1 << 32 | 1 << 15;

#[derive(Debug, Clone, Default)]
struct StandIn {
    log: Arc<Mutex<Vec<String>>>,
    /// What it refuses to do.
    refuses: Option<&'static str>,
}

impl StandIn {
    fn note(&self, what: &str, of: impl std::fmt::Display) -> io::Result<()> {
        self.log.lock().unwrap().push(format!("{what} {of}"));
        match self.refuses {
            Some(refused) if refused == what => Err(io::ErrorKind::PermissionDenied.into()),
            _ => Ok(()),
        }
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

impl Requests for StandIn {
    fn own(&self) -> io::Result<()> {
        self.note("own", "")
    }

    fn features(&self) -> io::Result<u64> {
        Ok(FEATURES)
    }

    fn set_features(&self, features: u64) -> io::Result<()> {
        self.note("features", format!("{features:#x}"))
    }

    fn set_memory(&self, _memory: &MemoryTable) -> io::Result<()> {
        self.note("memory", "")
    }

    fn set_size(&self, ring: u32, size: u16) -> io::Result<()> {
        self.note("size", format!("{ring}: {size}"))
    }

    fn set_place(&self, ring: u32, place: &RingPlace) -> io::Result<()> {
        self.note("place", format!("{ring}: {:#x}", place.descriptors))
    }

    fn set_base(&self, ring: u32, next_available: u16) -> io::Result<()> {
        self.note("base", format!("{ring}: {next_available}"))
    }

    fn base(&self, ring: u32) -> io::Result<u16> {
        self.note("how far", ring)?;
        Ok(BASES[ring as usize])
    }

    fn set_signal(&self, ring: u32, which: Signal, _event: BorrowedFd<'_>) -> io::Result<()> {
        self.note("signal", format!("{ring}: {which:?}"))
    }

    fn set_backend(&self, ring: u32, tap: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.note("tap", format!("{ring}: {}", tap.is_some()))
    }
}

fn vhost(kernel: &StandIn) -> Vhost {
    let tap = eventfd(0, EventfdFlags::empty()).unwrap();
    let memory = testing_raw::table(&Arc::from([]));
    Vhost::over(Box::new(kernel.clone()), tap, memory).unwrap()
}

fn begin(vhost: &mut Vhost, features: u64) -> Result<(), VhostError> {
    let kick = File::open("/dev/null").unwrap();
    let ring = |descriptors, next_available| LentRing {
        place: RingPlace {
            descriptors,
            driver: 0,
            device: 0,
        },
        size: 64,
        next_available,
        kick: kick.as_fd(),
    };
    vhost.begin(features, [ring(0x1000, 3), ring(0x2000, 4)])
}

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let now = Timespec::default();
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&now)).unwrap() > 0
}

#[test]
fn the_kernel_begins_with_the_tap_and_ends_without_it() {
    let kernel = StandIn::default();
    let mut vhost = vhost(&kernel);
    begin(&mut vhost, FEATURES).unwrap();
    assert!(vhost.is_at_work());
    let first = [
        "own ",
        "memory ",
        "signal 0: Call",
        "signal 0: Error",
        "signal 1: Call",
        "signal 1: Error",
    ];
    let each = [
        "features 0x100008000",
        "size 0: 64",
        "base 0: 3",
        "place 0: 0x1000",
        "signal 0: Kick",
        "size 1: 64",
        "base 1: 4",
        "place 1: 0x2000",
        "signal 1: Kick",
        "tap 0: true",
        "tap 1: true",
    ];
    assert_eq!(kernel.taken(), [&first[..], &each].concat());
    assert_eq!(vhost.end().unwrap(), BASES);
    assert!(!vhost.is_at_work());
    let ends = ["tap 0: false", "tap 1: false"];
    let told = ["how far 0", "how far 1"];
    assert_eq!(kernel.taken(), [ends, told].concat());
    // It knows whose memory it is, from now on.
    begin(&mut vhost, FEATURES).unwrap();
    assert_eq!(kernel.taken(), each);
    drop(vhost);
    assert_eq!(kernel.taken(), ends);
}

#[test]
fn what_is_refused_half_way_has_not_begun() {
    for (refuses, ends) in [
        ("own", false),
        ("features", false),
        ("place", false),
        ("tap", true),
    ] {
        let kernel = StandIn {
            refuses: Some(refuses),
            ..StandIn::default()
        };
        let mut vhost = vhost(&kernel);
        let begun = begin(&mut vhost, FEATURES);
        assert!(
            matches!(begun, Err(VhostError::Refused { .. })),
            "{refuses}"
        );
        assert!(!vhost.is_at_work());
        let stopped = kernel
            .taken()
            .ends_with(&["tap 0: false".into(), "tap 1: false".into()]);
        assert_eq!(stopped, ends, "{refuses}");
    }
}

#[test]
fn a_feature_that_the_kernel_does_not_know_is_no_way_to_begin() {
    let kernel = StandIn::default();
    let mut vhost = vhost(&kernel);
    let begun = begin(&mut vhost, FEATURES | 1 << 29);
    assert!(matches!(
        begun,
        Err(VhostError::Features {
            missing: 0x2000_0000
        })
    ));
    assert!(!vhost.is_at_work());
}

#[test]
fn the_tap_wakes_us_only_while_the_kernel_is_not_at_work() {
    let mut vhost = vhost(&StandIn::default());
    assert!(!is_readable(vhost.events()));
    rustix::io::write(&vhost.tap, &1u64.to_ne_bytes()).unwrap();
    assert!(is_readable(vhost.events()));
    begin(&mut vhost, FEATURES).unwrap();
    assert!(!is_readable(vhost.events()));
    vhost.end().unwrap();
    assert!(is_readable(vhost.events()));
}

#[test]
fn calls_are_heard_once_and_errors_before_them() {
    let mut vhost = vhost(&StandIn::default());
    begin(&mut vhost, FEATURES).unwrap();
    assert_eq!(vhost.heard(), Heard::Calls([false; 2]));
    let ring = |event| rustix::io::write(event, &1u64.to_ne_bytes()).unwrap();
    ring(&vhost.calls[1]);
    assert!(is_readable(vhost.events()));
    assert_eq!(vhost.heard(), Heard::Calls([false, true]));
    assert!(!is_readable(vhost.events()));
    ring(&vhost.calls[0]);
    ring(&vhost.error);
    assert_eq!(vhost.heard(), Heard::Error);
    assert_eq!(vhost.heard(), Heard::Calls([true, false]));
}

#[test]
fn an_address_is_found_where_all_of_it_lies_in_one_piece() {
    let words: Arc<[_]> = (0..512).map(|_| 0.into()).collect();
    let table = testing_raw::table(&words);
    let start = words.as_ptr().addr() as u64;
    let base = testing_raw::BASE;
    assert_eq!(table.host(base, 4096), Some(start));
    assert_eq!(table.host(base + 4095, 1), Some(start + 4095));
    for (guest, len) in [(base, 4097), (base - 1, 2), (base + 4096, 1), (u64::MAX, 2)] {
        assert_eq!(table.host(guest, len), None, "{guest:#x} {len}");
    }
}
