use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::InterfaceCounts;
use crate::{Counts, Traffic};

/// A list as the kernel's, in a file of the test's own.
struct List(PathBuf);

const HEADER: &str = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
";

impl List {
    fn new(name: &str) -> List {
        let list = std::env::temp_dir().join(format!("netio-{name}-{}", std::process::id()));
        let list = List(list);
        list.set([0; 4]);
        list
    }

    /// Frames and bytes that the host has received and sent.
    fn set(&self, [frames_in, bytes_in, frames_out, bytes_out]: [u64; 4]) {
        let [received, sent] = [(bytes_in, frames_in), (bytes_out, frames_out)]
            .map(|(bytes, frames)| format!("{bytes:8} {frames:7} 0 0 0 0 0 0"));
        fs::write(&self.0, format!("{HEADER}  tap0: {received} {sent}\n")).unwrap();
    }

    fn open(&self) -> Arc<InterfaceCounts> {
        Arc::new(InterfaceCounts::within(&self.0, "tap0").unwrap())
    }
}

impl Drop for List {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn counts(frames: u64, bytes: u64) -> Counts {
    Counts { frames, bytes }
}

#[test]
fn what_the_host_receives_the_guest_has_sent() {
    let list = List::new("directions");
    let interface = list.open();
    list.set([1, 60, 2, u64::MAX]);
    assert_eq!(interface.now(), Some([counts(1, 60), counts(2, u64::MAX)]));
    fs::write(&list.0, HEADER).unwrap();
    assert_eq!(interface.now(), None);
    assert!(InterfaceCounts::open("lo").is_ok());
    assert!(InterfaceCounts::open("l").is_err());
}

#[test]
fn only_what_the_kernel_moves_is_counted_by_the_interface() {
    let list = List::new("periods");
    let (interface, traffic) = (list.open(), Traffic::default());
    list.set([10, 1000, 20, 2000]);
    assert_eq!(traffic.sent(), Counts::default());
    traffic.kernel_begins(&interface);
    list.set([11, 1100, 20, 2000]);
    assert_eq!(traffic.sent(), counts(1, 100));
    traffic.kernel_begins(&interface);
    list.set([12, 1200, 23, 2300]);
    traffic.kernel_ends();
    traffic.kernel_ends();
    list.set([1000, 99_999, 1000, 99_999]);
    assert_eq!(traffic.sent(), counts(2, 200));
    assert_eq!(traffic.received(), counts(3, 300));
    traffic.kernel_begins(&interface);
    list.set([1001, 100_000, 1000, 99_999]);
    assert_eq!(traffic.sent(), counts(3, 201));
}

#[test]
fn an_interface_that_has_gone_adds_nothing() {
    let list = List::new("gone");
    let (interface, traffic) = (list.open(), Traffic::default());
    list.set([10, 1000, 20, 2000]);
    traffic.kernel_begins(&interface);
    fs::write(&list.0, HEADER).unwrap();
    assert_eq!(traffic.sent(), Counts::default());
    traffic.kernel_ends();
    assert_eq!(traffic.received(), Counts::default());
}
