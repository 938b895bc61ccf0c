#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use block::BlockDevice;
use vm_memory::{Bytes, GuestAddress};

use crate::pci::PciFunction;
use crate::virtio::block::test_disk::MemoryDisk;
use crate::virtio::block::{F_FLUSH, F_RO, NoRoom, serve_prepared};
use crate::virtio::rate::PATIENCE;
use crate::virtio::testing::{
    Buffer, Descriptor, Driver, INDIRECT, NEXT, WRITE, queue_state, ram, wait_until,
    write_descriptor,
};
use crate::virtio::{
    Block, BlockOptions, F_EVENT_IDX, F_INDIRECT_DESC, Nonsense, QueueState, RateGate, RateLimit,
};

const LEN: usize = 1 << 20;

fn header(kind: u32, sector: u64) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend(sector.to_le_bytes());
    bytes
}

fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    let mut bytes = sector.to_le_bytes().to_vec();
    bytes.extend(sectors.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes
}

fn started(disk: MemoryDisk, features: u64) -> (Driver, Arc<MemoryDisk>) {
    let disk = Arc::new(disk);
    let options = BlockOptions {
        serial: "a serial that is longer than twenty".into(),
        queues: 1,
    };
    let device = Block::new(Arc::clone(&disk) as Arc<dyn BlockDevice>, &options);
    let mut driver = Driver::new(device);
    driver.start(features);
    (driver, disk)
}

/// Submits one request and answers its status and the writable bytes before it.
fn request(driver: &mut Driver, buffers: &[Buffer<'_>]) -> (u8, Vec<u8>) {
    let head = driver.submit(0, buffers);
    assert_eq!(driver.answer(0).0, head);
    let mut bytes = driver.written(0, head);
    (bytes.pop().unwrap(), bytes)
}

#[test]
fn what_is_written_is_read() {
    let (mut driver, disk) = started(MemoryDisk::new(LEN), F_FLUSH);
    let data: Vec<u8> = (0..400 * 512u32).map(|i| (i / 7) as u8).collect();
    let (first, second) = data.split_at(1000);
    let write = [
        Buffer::Out(&header(1, 9)),
        Buffer::Out(first),
        Buffer::Out(second),
        Buffer::In(1),
    ];
    assert_eq!(request(&mut driver, &write).0, 0);
    assert_eq!(disk.bytes()[9 * 512..409 * 512], data);
    assert_eq!(disk.flushes.load(Ordering::Relaxed), 0);
    let (status, read) = request(
        &mut driver,
        &[
            Buffer::Out(&header(0, 9)),
            Buffer::In(400 * 512),
            Buffer::In(1),
        ],
    );
    assert_eq!(status, 0);
    assert!(read == data);
}

#[test]
fn framing_does_not_matter() {
    let (mut driver, _) = started(MemoryDisk::new(LEN), 0);
    let head = header(0, 1);
    let (a, b) = head.split_at(3);
    let (status, read) = request(
        &mut driver,
        &[
            Buffer::Out(a),
            Buffer::Out(b),
            Buffer::In(100),
            Buffer::In(413),
        ],
    );
    assert_eq!((status, read.len()), (0, 512));
}

#[test]
fn a_driver_that_cannot_flush_finds_its_writes_stable() {
    let (mut driver, disk) = started(MemoryDisk::new(LEN), 0);
    let write = [
        Buffer::Out(&header(1, 0)),
        Buffer::Out(&[7; 512]),
        Buffer::In(1),
    ];
    assert_eq!(request(&mut driver, &write).0, 0);
    assert_eq!(disk.flushes.load(Ordering::Relaxed), 1);
}

#[test]
fn flush_identify_and_unknown_requests() {
    let (mut driver, disk) = started(MemoryDisk::new(LEN), F_FLUSH);
    assert_eq!(
        request(&mut driver, &[Buffer::Out(&header(4, 0)), Buffer::In(1)]).0,
        0
    );
    assert_eq!(disk.flushes.load(Ordering::Relaxed), 1);
    let (status, id) = request(
        &mut driver,
        &[Buffer::Out(&header(8, 0)), Buffer::In(20), Buffer::In(1)],
    );
    assert_eq!((status, &id[..]), (0, &b"a serial that is lon"[..]));
    assert_eq!(
        request(&mut driver, &[Buffer::Out(&header(99, 0)), Buffer::In(1)]).0,
        2
    );
}

#[test]
fn discard_and_zeroing() {
    let (mut driver, disk) = started(MemoryDisk::new(LEN), 0);
    disk.write_at(&[0xaa; 8192], 0).unwrap();
    let discard = [
        Buffer::Out(&header(11, 0)),
        Buffer::Out(&range(0, 8, 0)),
        Buffer::In(1),
    ];
    assert_eq!(request(&mut driver, &discard).0, 0);
    let zero = [
        Buffer::Out(&header(13, 0)),
        Buffer::Out(&range(8, 1, 1)),
        Buffer::In(1),
    ];
    assert_eq!(request(&mut driver, &zero).0, 0);
    assert!(disk.bytes()[..9 * 512].iter().all(|&byte| byte == 0));
    assert!(disk.bytes()[9 * 512..8192].iter().all(|&byte| byte == 0xaa));
    let cases = [
        (11, range(0, 8, 1), 2),
        (13, range(0, 8, 2), 2),
        (13, range(u64::MAX, 8, 0), 1),
        (13, range(0, u32::MAX, 0), 1),
        (11, range(LEN as u64 / 512, 1, 0), 1),
        (11, vec![0; 15], 1),
        (11, vec![0; 32], 1),
    ];
    for (kind, range, status) in cases {
        let buffers = [
            Buffer::Out(&header(kind, 0)),
            Buffer::Out(&range),
            Buffer::In(1),
        ];
        assert_eq!(request(&mut driver, &buffers).0, status, "{kind} {range:?}");
    }
}

#[test]
fn zeroes_are_paid_for_as_if_they_were_written() {
    let gate = RateGate::default();
    gate.set(RateLimit {
        bytes: NonZeroU64::new(1000),
        operations: None,
    });
    let disk: Arc<dyn BlockDevice> = Arc::new(MemoryDisk::new(LEN));
    let device = Block::new(disk, &BlockOptions::default()).through(gate.clone());
    let mut driver = Driver::new(device);
    driver.start(0);
    let zero = [
        Buffer::Out(&header(13, 0)),
        Buffer::Out(&range(0, 2000, 1)),
        Buffer::In(1),
    ];
    assert_eq!(request(&mut driver, &zero).0, 0);
    // The longest wait: the request alone is within what may go at once.
    assert_eq!(gate.wait(), Some(PATIENCE));
}

#[test]
fn requests_outside_the_disk_fail() {
    let (mut driver, _) = started(MemoryDisk::new(LEN), 0);
    let end = LEN as u64 / 512;
    for (sector, len) in [
        (end, 512),
        (end - 1, 1024),
        (u64::MAX, 512),
        (1 << 55, 512),
        (0, 100),
    ] {
        let buffers = [
            Buffer::Out(&header(0, sector)),
            Buffer::In(len),
            Buffer::In(1),
        ];
        assert_eq!(request(&mut driver, &buffers).0, 1, "{sector} {len}");
    }
}

#[test]
fn host_errors_reach_the_guest_as_io_errors() {
    let mut disk = MemoryDisk::new(LEN);
    disk.fails = true;
    let (mut driver, _) = started(disk, 0);
    let buffers = [Buffer::Out(&header(0, 0)), Buffer::In(512), Buffer::In(1)];
    assert_eq!(request(&mut driver, &buffers).0, 1);
}

#[test]
fn a_read_only_disk_says_so_and_stays_so() {
    let mut disk = MemoryDisk::new(LEN);
    disk.read_only = true;
    let (mut driver, disk) = started(disk, F_RO);
    assert_eq!(driver.offered() & (F_RO | 1 << 13 | 1 << 14), F_RO);
    let write = [
        Buffer::Out(&header(1, 0)),
        Buffer::Out(&[1; 512]),
        Buffer::In(1),
    ];
    assert_eq!(request(&mut driver, &write).0, 1);
    assert!(disk.bytes().iter().all(|&byte| byte == 0));
}

#[test]
fn the_configuration_tells_capacity_and_limits() {
    let (mut driver, _) = started(MemoryDisk::new(LEN), 0);
    let device = driver.device;
    let mut read = |offset, size| driver.function_read(device + offset, size);
    assert_eq!(read(0, 8), LEN as u64 / 512);
    assert_eq!(read(12, 4), 254);
    assert_eq!(read(20, 4), 512);
    assert_eq!(read(34, 2), 1);
    assert_eq!(read(36, 4), 1 << 22);
    assert_eq!(read(56, 1), 1);
    assert_eq!(read(60, 4), 0);
}

#[test]
fn several_queues_work_side_by_side() {
    let disk: Arc<dyn BlockDevice> = Arc::new(MemoryDisk::new(LEN));
    let options = BlockOptions {
        queues: 3,
        ..BlockOptions::default()
    };
    let mut driver = Driver::new(Block::new(disk, &options));
    driver.start(1 << 12);
    for queue in [2, 0, 1, 2] {
        let head = driver.submit(queue, &[Buffer::Out(&header(0, 5)), Buffer::In(513)]);
        assert_eq!(driver.answer(queue), (head, 513));
    }
}

#[test]
fn an_indirect_table_is_followed_once() {
    let (mut driver, _) = started(MemoryDisk::new(LEN), F_INDIRECT_DESC);
    let out = driver.place(&header(0, 0));
    let into = driver.place(&[0xee; 513]);
    let table = driver.place(&[0; 32]);
    write_descriptor(&driver.memory, table, (out, 16, NEXT, 1));
    write_descriptor(&driver.memory, table + 16, (into, 513, WRITE, 0));
    let head = driver.enqueue_raw(0, &[(table, 32, INDIRECT, 0)]);
    driver.notify(0);
    assert_eq!(driver.answer(0), (head, 513));
    // A table inside a table is nonsense.
    write_descriptor(&driver.memory, table, (table, 32, INDIRECT, 0));
    driver.enqueue_raw(0, &[(table, 32, INDIRECT, 0)]);
    driver.notify(0);
    wait_until(|| driver.status() & 64 != 0);
}

#[test]
fn hostile_chains_stop_the_device_and_nothing_else() {
    let cases: &[(&str, &[Descriptor])] = &[
        ("a loop", &[(0x20_0000, 16, NEXT, 0)]),
        ("a next outside the table", &[(0x20_0000, 16, NEXT, 64)]),
        (
            "memory that is not there",
            &[(1 << 40, 16, NEXT, 1), (0x20_0000, 513, WRITE, 0)],
        ),
        (
            "an address that wraps",
            &[(u64::MAX - 4, 16, NEXT, 1), (0x20_0000, 513, WRITE, 0)],
        ),
        (
            "a buffer over RAM's end",
            &[((16 << 20) - 8, 16, NEXT, 1), (0x20_0000, 1, WRITE, 0)],
        ),
        (
            "readable after writable",
            &[(0x20_0000, 513, WRITE | NEXT, 1), (0x20_0000, 16, 0, 0)],
        ),
        ("no status", &[(0x20_0000, 16, 0, 0)]),
        ("no header", &[(0x20_0000, 513, WRITE, 0)]),
        (
            "4 GiB and more",
            &[
                (0x20_0000, u32::MAX, NEXT, 1),
                (0x20_0000, u32::MAX, WRITE, 0),
            ],
        ),
        ("an odd indirect table", &[(0x20_0000, 17, INDIRECT, 0)]),
        ("an empty indirect table", &[(0x20_0000, 0, INDIRECT, 0)]),
    ];
    for (what, descriptors) in cases {
        let (mut driver, _) = started(MemoryDisk::new(LEN), F_INDIRECT_DESC);
        driver.enqueue_raw(0, descriptors);
        driver.notify(0);
        wait_until(|| driver.status() & 64 != 0);
        assert!(!driver.has_answer(0), "{what}");
        driver.start(0);
        assert_eq!(
            request(&mut driver, &[Buffer::Out(&header(4, 0)), Buffer::In(1)]).0,
            0
        );
    }
}

#[test]
fn an_enormous_request_is_refused() {
    let (mut driver, _) = started(MemoryDisk::new(LEN), 0);
    let out = driver.place(&header(0, 0));
    let chain: Vec<Descriptor> = std::iter::once((out, 16, NEXT, 1))
        .chain((1..20).map(|next| (0x20_0000, 8 << 20, NEXT | WRITE, next + 1)))
        .chain([(0x80_0000, 1, WRITE, 0)])
        .collect();
    driver.enqueue_raw(0, &chain);
    driver.notify(0);
    driver.answer(0);
    let status: u8 = driver
        .memory
        .ram()
        .read_obj(GuestAddress(0x80_0000))
        .unwrap();
    assert_eq!(status, 1);
}

#[test]
fn random_rings_do_no_harm() {
    let disk: Arc<dyn BlockDevice> = Arc::new(MemoryDisk::new(LEN));
    let memory = ram();
    let queue = queue_state(0, 64);
    let mut random = 42u64;
    let mut next = move || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1442);
        random >> 24
    };
    let mut outcomes = [0; 2];
    for _ in 0..300 {
        for slot in 0..64 {
            // Mostly plausible: chains that go on, into RAM, short.
            let flags = [NEXT, WRITE, NEXT | WRITE, INDIRECT, 0][next() as usize % 5];
            let descriptor = (
                next() % (17 << 20),
                next() as u32 % 3000,
                flags,
                next() as u16 % 66,
            );
            write_descriptor(&memory, queue.descriptors + slot * 16, descriptor);
            let entry = GuestAddress(queue.driver + 4 + slot * 2);
            memory.ram().write_obj(next() as u16 % 65, entry).unwrap();
        }
        let index = next() as u16 % 66;
        memory
            .ram()
            .write_obj(index, GuestAddress(queue.driver + 2))
            .unwrap();
        let served = serve_prepared(&memory, &queue, Arc::clone(&disk));
        outcomes[usize::from(served.is_err())] += 1;
    }
    assert!(outcomes[1] > 0, "{outcomes:?}");
}

#[test]
fn a_queue_without_sense_is_refused() {
    let disk: Arc<dyn BlockDevice> = Arc::new(MemoryDisk::new(LEN));
    let wrongs: [fn(&mut QueueState); 6] = [
        |queue| queue.size = 0,
        |queue| queue.size = 3,
        |queue| queue.descriptors += 1,
        |queue| queue.driver += 1,
        |queue| queue.device += 2,
        |queue| queue.device = u64::MAX - 3,
    ];
    for wrong in wrongs {
        let mut queue = queue_state(0, 64);
        wrong(&mut queue);
        let served = serve_prepared(&ram(), &queue, Arc::clone(&disk));
        assert_eq!(served, Err(Nonsense::Ring));
    }
}

#[test]
fn a_state_of_another_disk_is_refused() {
    use crate::pci::PciFunction;
    let (driver, _) = started(MemoryDisk::new(LEN), 0);
    let saved = driver.function.save();
    let (mut smaller, _) = started(MemoryDisk::new(LEN / 2), 0);
    let error = smaller.function.restore(&saved).unwrap_err().to_string();
    assert!(error.contains("1024 sectors"), "{error}");
    assert_eq!(
        request(&mut smaller, &[Buffer::Out(&header(4, 0)), Buffer::In(1)]).0,
        0
    );
}

fn cached(fails: bool) -> MemoryDisk {
    let mut disk = MemoryDisk::new(LEN);
    (disk.cached, disk.fails) = (true, fails);
    disk.write_at(&[0x5a; 4096], 8 * 512).unwrap();
    disk
}

/// A read of `len` bytes from sector 8 on.
fn read_of(len: u32) -> [Buffer<'static>; 3] {
    static HEADER: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0];
    [Buffer::Out(&HEADER), Buffer::In(len), Buffer::In(1)]
}

#[test]
fn a_short_read_of_what_is_in_memory_is_answered_by_the_notification() {
    for features in [0, F_EVENT_IDX] {
        let (mut driver, disk) = started(cached(false), features);
        let mut at_once = 0;
        for _ in 0..200 {
            let head = driver.submit(0, &read_of(4096));
            at_once += u32::from(driver.has_answer(0));
            assert_eq!(driver.answer(0), (head, 4097));
            let mut expected = vec![0x5a; 4096];
            expected.push(0);
            assert!(driver.written(0, head) == expected);
            // With an event index it says where it wants to hear of the next, and here never does.
            assert!(features != 0 || driver.function_read(driver.isr, 1) != 0);
        }
        // The worker looks around when it is released, and whoever finds it at that leaves it the
        // request.
        assert!(at_once > 150, "{at_once}");
        assert!(disk.patient_reads.load(Ordering::Relaxed) < 50);
    }
}

#[test]
fn what_may_wait_is_left_to_the_worker_in_its_order() {
    let (mut driver, disk) = started(cached(false), 0);
    let write = header(1, 8);
    let heads = [
        driver.enqueue(0, &read_of(512)),
        driver.enqueue(
            0,
            &[Buffer::Out(&write), Buffer::Out(&[7; 512]), Buffer::In(1)],
        ),
        driver.enqueue(0, &read_of(512)),
        driver.enqueue(0, &read_of(64 << 10)),
    ];
    driver.notify(0);
    for head in heads {
        assert_eq!(driver.answer(0).0, head);
    }
    assert_eq!(driver.written(0, heads[0])[0], 0x5a);
    assert_eq!(driver.written(0, heads[2])[0], 7);
    assert!(disk.patient_reads.load(Ordering::Relaxed) >= 2);
}

#[test]
fn nothing_is_served_at_once_that_a_worker_would_not_serve() {
    use crate::pci::PciFunction;
    let (mut driver, _) = started(cached(false), 0);
    driver.function.quiesce();
    driver.submit(0, &read_of(512));
    assert!(!driver.has_answer(0));
    driver.function.resume();
    driver.answer(0);
    // Nonsense ends it here as there.
    driver.enqueue_raw(0, &[(1 << 40, 16, NEXT, 1)]);
    driver.notify(0);
    wait_until(|| driver.status() & 64 != 0);
}

#[test]
fn an_error_of_the_host_in_a_read_at_once_is_the_workers_to_tell() {
    let (mut driver, disk) = started(cached(true), 0);
    assert_eq!(request(&mut driver, &read_of(512)).0, 1);
    assert_eq!(disk.patient_reads.load(Ordering::Relaxed), 1);
    let outside = [
        Buffer::Out(&header(0, LEN as u64 / 512)),
        Buffer::In(512),
        Buffer::In(1),
    ];
    assert_eq!(request(&mut driver, &outside).0, 1);
}

/// Counts how often it was told, and answers as it was made.
#[derive(Debug)]
struct Told(bool, AtomicU32);

impl NoRoom for Told {
    fn stop(&self) -> bool {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0
    }
}

fn write_of_sevens(header: &[u8]) -> [Buffer<'_>; 3] {
    [Buffer::Out(header), Buffer::Out(&[7; 512]), Buffer::In(1)]
}

fn on_a_full_host(stops: bool) -> (Driver, Arc<MemoryDisk>, Arc<Told>) {
    let disk = Arc::new(MemoryDisk::new(LEN));
    disk.full.store(true, Ordering::Relaxed);
    let told = Arc::new(Told(stops, AtomicU32::new(0)));
    let device = Block::new(
        Arc::clone(&disk) as Arc<dyn BlockDevice>,
        &BlockOptions::default(),
    );
    let mut driver = Driver::new(device.keeping(Arc::clone(&told) as Arc<dyn NoRoom>));
    driver.start(F_FLUSH);
    (driver, disk, told)
}

#[test]
fn a_write_that_the_host_has_no_room_for_is_kept_and_done_when_the_guest_goes_on() {
    let (mut driver, disk, told) = on_a_full_host(true);
    let head = driver.submit(0, &write_of_sevens(&header(1, 3)));
    wait_until(|| told.1.load(Ordering::Relaxed) > 0);
    let flush = driver.submit(0, &[Buffer::Out(&header(4, 0)), Buffer::In(1)]);
    driver.function.quiesce();
    assert!(!driver.has_answer(0));
    let before = told.1.load(Ordering::Relaxed);
    driver.function.resume();
    wait_until(|| told.1.load(Ordering::Relaxed) > before);
    assert!(!driver.has_answer(0), "it is still full");
    driver.function.quiesce();
    disk.full.store(false, Ordering::Relaxed);
    driver.function.resume();
    assert_eq!(driver.answer(0).0, head);
    assert_eq!(driver.written(0, head), [0]);
    assert_eq!(disk.bytes()[3 * 512..4 * 512], [7; 512]);
    // Behind the write, whose data it is to make last.
    assert_eq!(driver.answer(0).0, flush);
    assert_eq!(driver.written(0, flush), [0]);
    assert_eq!(disk.flushes.load(Ordering::Relaxed), 1);
}

#[test]
fn a_flush_whose_tables_have_no_room_is_kept_as_well() {
    let (mut driver, disk, told) = on_a_full_host(true);
    let flush = driver.submit(0, &[Buffer::Out(&header(4, 0)), Buffer::In(1)]);
    wait_until(|| told.1.load(Ordering::Relaxed) > 0);
    driver.function.quiesce();
    assert!(!driver.has_answer(0));
    disk.full.store(false, Ordering::Relaxed);
    driver.function.resume();
    assert_eq!(driver.answer(0).0, flush);
    assert_eq!(driver.written(0, flush), [0]);
}

#[test]
fn a_write_that_was_kept_is_done_by_the_machine_that_goes_on_from_the_saved_one() {
    let (mut driver, _, told) = on_a_full_host(true);
    let head = driver.submit(0, &write_of_sevens(&header(1, 3)));
    wait_until(|| told.1.load(Ordering::Relaxed) > 0);
    driver.function.quiesce();
    let roomy = Arc::new(MemoryDisk::new(LEN));
    let disk = Arc::clone(&roomy) as Arc<dyn BlockDevice>;
    let device = Block::new(disk, &BlockOptions::default());
    let mut after = Driver::with_memory(device, driver.memory.clone());
    after.function.restore(&driver.function.save()).unwrap();
    after.continue_from(driver);
    after.function.resume();
    assert_eq!(after.answer(0).0, head);
    assert_eq!(roomy.bytes()[3 * 512..4 * 512], [7; 512]);
}

#[test]
fn a_write_fails_on_a_full_host_where_nobody_stops_the_guest() {
    let (mut driver, _, told) = on_a_full_host(false);
    let write = header(1, 3);
    assert_eq!(request(&mut driver, &write_of_sevens(&write)).0, 1);
    assert_eq!(told.1.load(Ordering::Relaxed), 1);
}
