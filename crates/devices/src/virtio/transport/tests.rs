#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::sync::Arc;

use block::BlockDevice;

use crate::pci::{COMMAND, PciFunction};
use crate::virtio::block::test_disk::MemoryDisk;
use crate::virtio::testing::{Buffer, Driver, QUEUE_SIZE, queue_state, wait_until};
use crate::virtio::{Block, BlockOptions, F_EVENT_IDX};

fn driver() -> Driver {
    let disk: Arc<dyn BlockDevice> = Arc::new(MemoryDisk::new(1 << 20));
    Driver::new(Block::new(disk, &BlockOptions::default()))
}

fn read_request(sector: u64) -> Vec<u8> {
    let mut header = vec![0; 8];
    header.extend(sector.to_le_bytes());
    header
}

fn read_sector(driver: &mut Driver) -> Vec<u8> {
    let head = driver.submit(0, &[Buffer::Out(&read_request(0)), Buffer::In(513)]);
    let (answered, len) = driver.answer(0);
    assert_eq!((answered, len), (head, 513));
    driver.written(0, head)
}

#[test]
fn identity_is_a_modern_device() {
    let mut driver = driver();
    assert_eq!(driver.function.config_read(0, 4), 0x1042_1af4);
    assert_eq!(driver.function.config_read(8, 1), 1, "revision");
    assert_eq!(driver.function.config_read(0x2e, 2), 0x42);
    assert_eq!(driver.function.config_read(0x3d, 1), 1, "pin A");
}

#[test]
fn features_need_version_1_and_no_more_than_offered() {
    let mut driver = driver();
    assert!(driver.negotiate(0));
    assert!(!driver.negotiate(1 << 50));
    driver.write(0x14, 1, 0);
    driver.write(0x14, 1, 0xb);
    assert_eq!(
        driver.status(),
        3,
        "FEATURES_OK without VERSION_1 was accepted"
    );
    driver.write(0x14, 1, 0xf);
    assert_eq!(
        driver.status(),
        3,
        "DRIVER_OK without FEATURES_OK was accepted"
    );
}

#[test]
fn a_queue_that_does_not_exist_has_size_zero() {
    let mut driver = driver();
    driver.write(0x16, 2, 1);
    assert_eq!(driver.read(0x18, 2), 0);
    driver.write(0x16, 2, 0);
    assert_eq!(driver.read(0x18, 2), 256);
    driver.write(0x18, 2, 100);
    assert_eq!(
        driver.read(0x18, 2),
        256,
        "a size that is no power of two was taken"
    );
    assert_eq!(driver.read(0x12, 2), 1);
}

#[test]
fn queue_addresses_are_written_in_halves_or_whole() {
    let mut driver = driver();
    driver.write(0x20, 4, 0x1000);
    driver.write(0x24, 4, 0x1);
    assert_eq!(driver.read(0x20, 8), 0x1_0000_1000);
    driver.write(0x28, 8, 0x2_0000_2000);
    assert_eq!(driver.read(0x2c, 4), 2);
}

#[test]
fn a_ring_outside_ram_needs_a_reset() {
    let mut driver = driver();
    assert!(driver.negotiate(0));
    let mut state = queue_state(0, QUEUE_SIZE);
    state.device = 1 << 40;
    driver.enable_queue(0, &state);
    assert_eq!(driver.status() & 64, 64);
    driver.start(0);
    assert_eq!(driver.status(), 0xf, "a reset did not help");
    read_sector(&mut driver);
}

#[test]
fn an_available_index_beyond_the_ring_needs_a_reset() {
    use vm_memory::{Bytes, GuestAddress};
    let mut driver = driver();
    driver.start(0);
    let available = queue_state(0, QUEUE_SIZE).driver + 2;
    driver
        .memory
        .ram()
        .write_obj(5000u16, GuestAddress(available))
        .unwrap();
    driver.notify(0);
    wait_until(|| driver.status() & 64 != 0);
    assert!(driver.line.high(), "no configuration interrupt");
    driver.start(0);
    read_sector(&mut driver);
}

#[test]
fn intx_is_raised_and_acknowledged_by_reading_isr() {
    let mut driver = driver();
    driver.start(0);
    read_sector(&mut driver);
    wait_until(|| driver.line.high());
    assert_eq!(
        driver.function.config_read(6, 2) & 8,
        8,
        "status shows the interrupt"
    );
    let isr = driver.isr;
    assert_eq!(driver.function.bar_read(0, isr, 1), 1);
    assert!(!driver.line.high());
    assert_eq!(driver.function.bar_read(0, isr, 1), 0);
}

#[test]
fn intx_disable_masks_the_line() {
    let mut driver = driver();
    driver.function.config_write(COMMAND, 2, 0x406);
    driver.start(0);
    read_sector(&mut driver);
    wait_until(|| driver.function.config_read(6, 2) & 8 != 0);
    assert!(!driver.line.high());
    driver.function.config_write(COMMAND, 2, 0x006);
    assert!(driver.line.high());
}

#[test]
fn msix_vectors_go_to_their_queues() {
    let mut driver = driver();
    driver.start(0);
    driver.use_msix();
    read_sector(&mut driver);
    let mut sent = Vec::new();
    wait_until(|| {
        sent.extend(driver.msi.take());
        !sent.is_empty()
    });
    assert_eq!(sent, [(0xfee0_0000, 0x41)]);
    assert!(!driver.line.high());
    driver.write(0x10, 2, 77);
    assert_eq!(
        driver.read(0x10, 2),
        0xffff,
        "a vector that does not exist was taken"
    );
}

#[test]
fn event_idx_suppresses_interrupts_until_asked_for() {
    use vm_memory::{Bytes, GuestAddress};
    let mut driver = driver();
    driver.start(F_EVENT_IDX);
    driver.use_msix();
    // used_event lies behind the available ring: ask for the third answer.
    let used_event = queue_state(0, QUEUE_SIZE).driver + 4 + 2 * u64::from(QUEUE_SIZE);
    driver
        .memory
        .ram()
        .write_obj(2u16, GuestAddress(used_event))
        .unwrap();
    read_sector(&mut driver);
    read_sector(&mut driver);
    assert_eq!(driver.msi.take(), []);
    read_sector(&mut driver);
    wait_until(|| !driver.msi.take().is_empty());
}

#[test]
fn without_event_idx_the_no_interrupt_flag_counts() {
    use vm_memory::{Bytes, GuestAddress};
    let mut driver = driver();
    driver.start(0);
    let flags = queue_state(0, QUEUE_SIZE).driver;
    driver
        .memory
        .ram()
        .write_obj(1u16, GuestAddress(flags))
        .unwrap();
    read_sector(&mut driver);
    driver.function.quiesce();
    assert!(!driver.line.high());
}

#[test]
fn the_configuration_window_reaches_the_registers() {
    let mut driver = driver();
    let mut at = driver.function.config_read(0x34, 1) as u16;
    while driver.function.config_read(at, 1) != 9 || driver.function.config_read(at + 3, 1) != 5 {
        at = driver.function.config_read(at + 1, 1) as u16;
    }
    // num_queues in the common structure, 2 bytes at 0x12.
    driver.function.config_write(at + 8, 4, 0x12);
    driver.function.config_write(at + 12, 4, 2);
    assert_eq!(driver.function.config_read(at + 16, 4), 1);
    driver.function.config_write(at + 8, 4, 0x14);
    driver.function.config_write(at + 12, 4, 1);
    driver.function.config_write(at + 16, 4, 3);
    assert_eq!(driver.status(), 3);
    // Nothing beyond the region, and no odd lengths.
    driver.function.config_write(at + 8, 4, 0xffff_fffc);
    driver.function.config_write(at + 12, 4, 4);
    driver.function.config_write(at + 16, 4, 0);
    driver.function.config_write(at + 12, 4, 3);
    let _ = driver.function.config_read(at + 16, 4);
    assert_eq!(driver.status(), 3);
}

#[test]
fn without_bus_mastering_nothing_touches_memory() {
    let mut driver = driver();
    driver.start(0);
    driver.function.config_write(COMMAND, 2, 2);
    driver.submit(0, &[Buffer::Out(&read_request(0)), Buffer::In(513)]);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(!driver.has_answer(0));
    driver.function.config_write(COMMAND, 2, 6);
    driver.answer(0);
}

#[test]
fn a_saved_device_goes_on_with_the_requests_in_its_ring() {
    let mut before = driver();
    before.start(F_EVENT_IDX);
    before.use_msix();
    read_sector(&mut before);
    before.function.quiesce();
    let head = before.submit(0, &[Buffer::Out(&read_request(0)), Buffer::In(513)]);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(!before.has_answer(0), "a quiet device answered");
    let saved = before.function.save();

    let disk: Arc<dyn BlockDevice> = Arc::new(MemoryDisk::new(1 << 20));
    let memory = before.memory.clone();
    let mut after = Driver::with_memory(Block::new(disk, &BlockOptions::default()), memory);
    after.function.restore(&saved).unwrap();
    assert_eq!(after.function.save(), saved);
    after.continue_from(before);
    assert!(
        !after.has_answer(0),
        "a restored device began before it was resumed"
    );
    after.function.resume();
    assert_eq!(after.answer(0), (head, 513));
    read_sector(&mut after);
}

#[test]
fn a_damaged_state_changes_nothing() {
    let mut driver = driver();
    driver.start(0);
    let good = driver.function.save();
    for cut in 0..good.bytes.len() {
        let mut bad = good.clone();
        bad.bytes.truncate(cut);
        assert!(
            driver.function.restore(&bad).is_err(),
            "{cut} bytes were enough"
        );
    }
    assert_eq!(driver.function.save(), good);
    read_sector(&mut driver);
}

#[test]
fn random_states_are_refused_or_survived() {
    let mut driver = driver();
    driver.start(0);
    let good = driver.function.save();
    let mut random = 0x1234_5678_9abc_def1u64;
    for _ in 0..2000 {
        let mut bad = good.clone();
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let at = (random >> 33) as usize % bad.bytes.len();
        bad.bytes[at] ^= 1 << (random >> 29 & 7);
        let _ = driver.function.restore(&bad);
        driver.function.resume();
        driver.notify(0);
    }
}

#[test]
fn random_register_accesses_do_no_harm() {
    let mut driver = driver();
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..20_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let size = 1 << (random >> 60 & 3);
        let offset = (random >> 20) % 0x8000 / u64::from(size) * u64::from(size);
        // Most of the meaning lies in the first page.
        let offset = if random & 3 == 0 {
            offset
        } else {
            offset % 0x40 / u64::from(size) * u64::from(size)
        };
        if random & 4 == 0 {
            driver.function.bar_write(0, offset, size, random >> 8);
        } else {
            let _ = driver.function.bar_read(0, offset, size);
        }
        if random & 0xff == 8 {
            driver
                .function
                .config_write((random >> 40) as u16 & 0xfc, 4, random as u32);
        }
    }
    driver.function.config_write(COMMAND, 2, 6);
    driver.start(0);
    read_sector(&mut driver);
}

#[test]
fn the_machine_s_reset_forgets_everything() {
    let mut driver = driver();
    let fresh = driver.function.save();
    driver.start(0);
    driver.use_msix();
    read_sector(&mut driver);
    driver.function.reset();
    driver.function.config_write(COMMAND, 2, 6);
    assert_eq!(driver.function.save(), fresh);
}

#[test]
fn the_doorbell_is_where_the_notify_is() {
    let driver = driver();
    let (offset, _fd) = driver.function.doorbell(0).unwrap();
    assert_eq!(offset, 0x3000);
    assert!(driver.function.doorbell(1).is_none());
}
