use std::sync::Arc;

use super::{Counted, Counts, Traffic};
use crate::testing::TestDirectory;
use crate::{BlockDevice, RawDisk};

fn without_time(counts: Counts) -> (u64, u64, u64) {
    (counts.requests, counts.bytes, counts.failed)
}

#[test]
fn requests_are_counted_by_their_kind_and_how_they_ended() {
    let directory = TestDirectory::new();
    let path = directory.file("disk", &[7; 8192]);
    let disk = RawDisk::open(&path, false).expect("a disk");
    let traffic = Arc::new(Traffic::default());
    let disk = Counted::new(Arc::new(disk), Arc::clone(&traffic));
    let mut bytes = [0; 4096];
    disk.read_at(&mut bytes, 0).expect("inside");
    assert_eq!(bytes, [7; 4096]);
    let now = disk.read_now(&mut bytes, 4096).expect("inside");
    assert!(disk.read_at(&mut bytes, 8192).is_err());
    disk.write_at(&[1; 512], 512).expect("inside");
    assert!(disk.write_at(&[1; 512], 8192).is_err());
    disk.flush().expect("a file");
    disk.discard(0, 4096).expect("inside");
    disk.write_zeroes(4096, 1024, false).expect("inside");
    let read = if now { (2, 8192, 1) } else { (1, 4096, 1) };
    assert_eq!(without_time(traffic.read()), read);
    assert_eq!(without_time(traffic.written()), (1, 512, 1));
    assert_eq!(without_time(traffic.flushed()), (1, 0, 0));
    assert_eq!(without_time(traffic.unmapped()), (2, 5120, 0));
    assert!(traffic.read().nanoseconds > 0);
    assert_eq!(traffic.highest_written(), 1024);
}
