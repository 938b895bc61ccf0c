use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memory::GuestMemory;
use vm_memory::{Bytes, GuestAddress};

use super::{
    Balloon, BalloonHandle, F_PAGE_POISON, F_REPORTING, F_STATS_VQ, INFLATE, MemoryStatistics,
    REPORTING, STATISTICS,
};
use crate::pci::PciFunction;
use crate::virtio::testing::{Buffer, Driver, RAM, WRITE, ram, wait_until};

/// What tests hand over lies behind all rings and buffers.
const SPARE: u64 = 0x80_0000;
const MIB: u64 = 1 << 20;
const FEATURES: u64 = F_STATS_VQ | F_PAGE_POISON | F_REPORTING;

struct Guest {
    driver: Driver,
    memory: GuestMemory,
    handle: BalloonHandle,
}

impl Guest {
    fn begin() -> Guest {
        let memory = ram();
        let balloon = Balloon::new(memory.clone());
        let handle = balloon.handle();
        let mut driver = Driver::with_memory(balloon, memory.clone());
        driver.start(FEATURES);
        let ones = vec![1; usize::try_from(MIB).unwrap()];
        memory
            .ram()
            .write_slice(&ones, GuestAddress(SPARE))
            .unwrap();
        Guest {
            driver,
            memory,
            handle,
        }
    }

    fn inflate(&mut self, pages: &[u32]) {
        let bytes: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
        self.driver.submit(INFLATE, &[Buffer::Out(&bytes)]);
        self.driver.answer(INFLATE);
    }

    fn report(&mut self, buffers: &[(u64, u32)]) {
        let count = buffers.len();
        let descriptors = (1..).zip(buffers).map(|(next, &(address, len))| {
            let more = u16::from(usize::from(next) < count);
            (address, len, WRITE | more, next)
        });
        self.driver
            .enqueue_raw(REPORTING, &descriptors.collect::<Vec<_>>());
        self.driver.notify(REPORTING);
    }

    /// How many of the spare pages are the guest's still.
    fn kept(&self) -> usize {
        let pages = (SPARE..SPARE + MIB).step_by(4096);
        let left = |at: &u64| -> bool {
            let byte: u8 = self.memory.ram().read_obj(GuestAddress(*at)).unwrap();
            byte != 0
        };
        pages.filter(left).count()
    }

    fn statistics(&mut self, entries: &[(u16, u64)]) {
        let entry =
            |&(tag, value): &(u16, u64)| [&tag.to_le_bytes()[..], &value.to_le_bytes()].concat();
        let bytes: Vec<u8> = entries.iter().flat_map(entry).collect();
        self.driver.submit(STATISTICS, &[Buffer::Out(&bytes)]);
    }
}

fn page(at: u64) -> u32 {
    u32::try_from(at / 4096).unwrap()
}

#[test]
fn pages_in_the_balloon_are_the_hosts() {
    let mut guest = Guest::begin();
    // The queue's own pages are the guest's from then on, which may be huge ones.
    guest.inflate(&[page(RAM)]);
    let before = guest.memory.resident();
    let first = page(SPARE);
    // Backwards, one twice, one apart, and some that there are none of.
    guest.inflate(&[
        first + 3,
        first + 2,
        first + 1,
        first + 1,
        first + 9,
        u32::MAX,
        page(RAM),
    ]);
    assert!(guest.memory.resident() < before);
    assert_eq!(guest.handle.report().returned, 4 * 4096);
    // A look brings them back, empty.
    assert_eq!(guest.kept(), 252);
}

#[test]
fn free_pages_that_are_reported_are_the_hosts() {
    let mut guest = Guest::begin();
    guest.report(&[(SPARE, 0x8000), (SPARE + 0x1_0000, 0x4001)]);
    guest.driver.answer(REPORTING);
    assert_eq!(guest.kept(), 256 - 8 - 4);
    assert_eq!(guest.handle.report().returned, 0xc000);
}

#[test]
fn reports_cannot_give_more_than_there_is() {
    let mut guest = Guest::begin();
    let rest = u32::try_from(RAM - SPARE).unwrap();
    guest.report(&[(SPARE, rest); 60]);
    guest.driver.answer(REPORTING);
    assert_eq!(guest.handle.report().returned, RAM);
    assert_eq!(guest.kept(), 0);
}

#[test]
fn poisoned_pages_stay_with_the_guest() {
    let mut guest = Guest::begin();
    let device = guest.driver.device;
    guest
        .driver
        .function
        .bar_write(0, device + 12, 4, 0xaaaa_aaaa);
    guest.report(&[(SPARE, 0x8000)]);
    guest.driver.answer(REPORTING);
    assert_eq!(guest.kept(), 256);
}

#[test]
fn a_page_number_list_without_end_is_cut() {
    let mut guest = Guest::begin();
    // All of RAM is the list, many times over: page 0, and whatever else its words say.
    let whole = u32::try_from(RAM).unwrap();
    let list: Vec<_> = (1..=40)
        .map(|next| (0, whole, u16::from(next < 40), next))
        .collect();
    guest.driver.enqueue_raw(INFLATE, &list);
    guest.driver.notify(INFLATE);
    guest.driver.answer(INFLATE);
    assert!(guest.handle.report().returned <= RAM);
}

#[test]
fn the_host_says_how_large_and_hears_how_large_it_is() {
    let mut guest = Guest::begin();
    guest.driver.use_msix();
    let changes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&changes);
    guest.handle.on_change(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    guest.handle.set_target(3 * 4096 + 1);
    let msi = Arc::clone(&guest.driver.msi);
    wait_until(|| !msi.take().is_empty());
    let device = guest.driver.device;
    assert_eq!(guest.driver.function_read(device, 4), 3);
    for _ in 0..2 {
        guest.driver.function.bar_write(0, device + 4, 4, 2);
    }
    assert_eq!(changes.load(Ordering::Relaxed), 1);
    let report = guest.handle.report();
    assert_eq!((report.target, report.actual), (3 * 4096, 2 * 4096));
    // The host's own fields, and what lies behind, cannot be written.
    guest.driver.function.bar_write(0, device, 4, 9);
    guest.driver.function.bar_write(0, device + 14, 8, u64::MAX);
    assert_eq!(guest.driver.function_read(device, 4), 3);
    assert_eq!(guest.handle.report().target, 3 * 4096);
}

#[test]
fn statistics_come_when_they_are_asked_for() {
    let mut guest = Guest::begin();
    guest.statistics(&[(4, 100), (5, 1000), (6, 700), (999, 5)]);
    let handle = guest.handle.clone();
    wait_until(|| handle.report().told == 1);
    let told = MemoryStatistics {
        free: Some(100),
        total: Some(1000),
        available: Some(700),
        ..MemoryStatistics::default()
    };
    assert_eq!(handle.report().statistics, Some(told));
    assert!(!guest.driver.has_answer(STATISTICS));
    handle.ask_statistics();
    guest.driver.answer(STATISTICS);
    guest.statistics(&[(4, 50)]);
    wait_until(|| handle.report().told == 2);
    assert_eq!(handle.report().statistics.unwrap().free, Some(50));
}

#[test]
fn a_restored_balloon_has_its_size_and_the_buffer_of_statistics() {
    let mut guest = Guest::begin();
    guest.statistics(&[(4, 100)]);
    let handle = guest.handle.clone();
    wait_until(|| handle.report().told == 1);
    handle.set_target(8 * 4096);
    let device = guest.driver.device;
    guest.driver.function.bar_write(0, device + 4, 4, 8);
    guest.driver.function.quiesce();
    let saved = guest.driver.function.save();

    let balloon = Balloon::new(guest.memory.clone());
    let handle = balloon.handle();
    let mut driver = Driver::with_memory(balloon, guest.memory.clone());
    driver.function.restore(&saved).unwrap();
    driver.continue_from(guest.driver);
    driver.function.resume();
    wait_until(|| handle.report().told == 1);
    assert_eq!(handle.report().actual, 8 * 4096);
    handle.ask_statistics();
    driver.answer(STATISTICS);
}
