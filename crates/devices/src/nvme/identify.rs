//! What the controller and its namespace say of themselves. Spec: NVM Express 1.4, "Identify Controller Data
//! Structure", "Identify Namespace Data Structure".

use block::SECTOR_SIZE;

use super::io::NAMESPACE;
use super::prp::MOST_PAGES_POWER;
use super::registers::VERSION_1_4;
use super::{IDENTITY, MOST_EVENT_REQUESTS};

pub(super) const CNS_NAMESPACE: u16 = 0;
pub(super) const CNS_CONTROLLER: u16 = 1;
pub(super) const CNS_NAMESPACES: u16 = 2;
pub(super) const CNS_DESCRIPTORS: u16 = 3;

const LEN: usize = 4096;
const MODEL: &str = "Innkeeper disk";
const REVISION: &str = "1";
const QUALIFIED_NAME: &str = "nqn.2026-11.innkeeper:disk:";
/// Sizes of entries as powers of two: the least and the most, which are one.
const SUBMISSION_ENTRIES: u8 = 0x66;
const COMPLETION_ENTRIES: u8 = 0x44;
/// Dataset management and zeroing.
const OPTIONAL_COMMANDS: u8 = 0b1100;
const WRITE_CACHE: u8 = 1;
/// Temperatures in Kelvin: from where on it warns, and where it would end.
const WARNING: u16 = 343;
const CRITICAL: u16 = 373;
/// The power state's most, in hundredths of a Watt.
const POWER: u16 = 100;
/// Bytes of a block as a power of two, which [`SECTOR_SIZE`] is.
const BLOCK_POWER: u8 = 9;

fn put(data: &mut [u8], at: usize, bytes: &[u8]) {
    data[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Characters padded with blanks.
fn text(data: &mut [u8], at: usize, len: usize, text: &str) {
    let padded = text.bytes().chain(std::iter::repeat(b' '));
    for (to, from) in data[at..at + len].iter_mut().zip(padded) {
        *to = from;
    }
}

pub(super) fn controller(serial: &str) -> Vec<u8> {
    let mut data = vec![0; LEN];
    put(&mut data, 0, &IDENTITY.vendor.to_le_bytes());
    put(&mut data, 2, &IDENTITY.subsystem_vendor.to_le_bytes());
    text(&mut data, 4, 20, serial);
    text(&mut data, 24, 40, MODEL);
    text(&mut data, 64, 8, REVISION);
    data[77] = MOST_PAGES_POWER;
    put(&mut data, 80, &VERSION_1_4.to_le_bytes());
    // How many requests for events there may be, less one.
    data[259] = MOST_EVENT_REQUESTS as u8 - 1;
    // One slot for firmware, which cannot be changed.
    data[260] = 0b11;
    put(&mut data, 266, &WARNING.to_le_bytes());
    put(&mut data, 268, &CRITICAL.to_le_bytes());
    data[512] = SUBMISSION_ENTRIES;
    data[513] = COMPLETION_ENTRIES;
    put(&mut data, 516, &NAMESPACE.to_le_bytes());
    data[520] = OPTIONAL_COMMANDS;
    data[525] = WRITE_CACHE;
    let serial: String = serial
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(20)
        .collect();
    put(
        &mut data,
        768,
        format!("{QUALIFIED_NAME}{serial}").as_bytes(),
    );
    put(&mut data, 2048, &POWER.to_le_bytes());
    data
}

/// `len` in bytes.
pub(super) fn namespace(len: u64) -> Vec<u8> {
    let mut data = vec![0; LEN];
    let blocks = (len / SECTOR_SIZE).to_le_bytes();
    for at in [0, 8, 16] {
        put(&mut data, at, &blocks);
    }
    data[128 + 2] = BLOCK_POWER;
    data
}

/// The namespaces above `above`.
pub(super) fn namespaces(above: u32) -> Vec<u8> {
    let mut data = vec![0; LEN];
    if above < NAMESPACE {
        put(&mut data, 0, &NAMESPACE.to_le_bytes());
    }
    data
}

/// Names of the namespace, of which there are none.
pub(super) fn descriptors() -> Vec<u8> {
    vec![0; LEN]
}
