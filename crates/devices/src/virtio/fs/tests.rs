use folder::{Folder, FolderOptions};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::pci::PciFunction;
use crate::virtio::testing::{Buffer, Driver, wait_until};
use crate::virtio::{Fs, VirtioDevice};

/// The device status bit. Spec: "Device Status Field".
const NEEDS_RESET: u8 = 0x40;
const REQUESTS: usize = 1;

fn device() -> Fs {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, std::env::temp_dir(), flags, Mode::empty()).unwrap();
    Fs::new(Folder::new(root, FolderOptions::default()), "src")
}

/// With its header: `struct fuse_in_header`.
fn request(opcode: u32, node: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(40 + body.len())
        .unwrap()
        .to_le_bytes()
        .to_vec();
    bytes.extend(opcode.to_le_bytes());
    bytes.extend(77u64.to_le_bytes());
    bytes.extend(node.to_le_bytes());
    bytes.extend([0; 16]);
    bytes.extend(body);
    bytes
}

#[test]
fn requests_are_answered_whatever_buffers_they_come_in() {
    let mut driver = Driver::new(device());
    driver.start(0);
    // GETATTR of the root.
    let asked = request(3, 1, &[0; 16]);
    let (head, tail) = asked.split_at(17);
    let first = driver.submit(
        REQUESTS,
        &[Buffer::Out(&asked), Buffer::In(16), Buffer::In(200)],
    );
    assert_eq!(driver.answer(REQUESTS), (first, 16 + 104));
    let told = driver.written(REQUESTS, first);
    assert_eq!(
        told[..16],
        [120, 0, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0]
    );
    let second = driver.submit(
        REQUESTS,
        &[Buffer::Out(head), Buffer::Out(tail), Buffer::In(120)],
    );
    assert_eq!(driver.answer(REQUESTS), (second, 120));
    // FORGET on the other queue has no answer.
    let third = driver.submit(0, &[Buffer::Out(&request(2, 1, &[0; 8]))]);
    assert_eq!(driver.answer(0), (third, 0));
}

#[test]
fn its_name_and_queues_are_in_its_configuration() {
    let mut bytes = [0; 40];
    bytes[..3].copy_from_slice(b"src");
    bytes[36] = 1;
    assert_eq!(device().config(), bytes);
}

#[test]
fn what_is_no_request_breaks_the_device_and_nothing_else() {
    for buffers in [
        vec![Buffer::In(100)],
        vec![Buffer::Out(&[1; 39]), Buffer::In(100)],
    ] {
        let mut driver = Driver::new(device());
        driver.start(0);
        driver.submit(REQUESTS, &buffers);
        wait_until(|| driver.status() & NEEDS_RESET != 0);
    }
}

#[test]
fn what_the_guest_knows_is_saved_with_it() {
    let mut driver = Driver::new(device());
    driver.start(0);
    // OPENDIR of the root: the first handle there is.
    let first = driver.submit(
        REQUESTS,
        &[Buffer::Out(&request(27, 1, &[0; 8])), Buffer::In(32)],
    );
    assert_eq!(driver.answer(REQUESTS), (first, 32));
    driver.function.quiesce();
    let saved = driver.function.save();
    let mut after = Driver::with_memory(device(), driver.memory.clone());
    after.function.restore(&saved).unwrap();
    assert_eq!(after.function.save(), saved);
    after.continue_from(driver);
    after.function.resume();
    let mut release = 1u64.to_le_bytes().to_vec();
    release.extend([0; 16]);
    let second = after.submit(
        REQUESTS,
        &[Buffer::Out(&request(29, 1, &release)), Buffer::In(16)],
    );
    assert_eq!(after.answer(REQUESTS), (second, 16));
    assert_eq!(after.written(REQUESTS, second)[4..8], [0; 4]);
}
