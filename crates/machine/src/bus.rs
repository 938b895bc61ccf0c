//! The port bus and the MMIO bus: which device answers an address.
//!
//! Problem: every vCPU looks up devices all the time, devices come and go seldom, and a reader must
//! never wait for another. Choice: the ranges are an immutable sorted list; a change makes a new
//! list and moves a generation number; each vCPU keeps a [`BusView`], its own reference to the list,
//! and looks for a newer one only when the number moved. Rejected: a read-write lock (its counter
//! is shared by all readers), and a table indexed by port (256 KiB for twenty devices).

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use devices::Device;
use thiserror::Error;

use crate::sync::lock;

/// A device as the machine holds it.
pub type SharedDevice = Arc<Mutex<dyn Device>>;

/// Whatever answers a range of addresses. Most are a device behind its lock; a window into a bus
/// that has locks of its own needs none here, so that one slow function does not stop the others.
pub trait Region: Send + Sync + Debug {
    fn read(&self, offset: u64, size: u8) -> u64;
    fn write(&self, offset: u64, size: u8, value: u64);
    /// For messages.
    fn name(&self) -> &'static str;

    /// Reads elements of `size` bytes at one address, one after the other.
    fn read_string(&self, offset: u64, size: u8, into: &mut [u8]) {
        for element in into.chunks_mut(size.into()) {
            let value = self.read(offset, size).to_le_bytes();
            element.copy_from_slice(&value[..element.len()]);
        }
    }

    /// Writes likewise.
    fn write_string(&self, offset: u64, size: u8, from: &[u8]) {
        for element in from.chunks(size.into()) {
            self.write(offset, size, value_of(element));
        }
    }
}

/// Of up to eight bytes.
fn value_of(element: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..element.len()].copy_from_slice(element);
    u64::from_le_bytes(bytes)
}

/// A device behind its lock.
#[derive(Debug)]
struct Locked(SharedDevice);

impl Region for Locked {
    fn read(&self, offset: u64, size: u8) -> u64 {
        lock(&self.0).read(offset, size)
    }

    fn write(&self, offset: u64, size: u8, value: u64) {
        lock(&self.0).write(offset, size, value);
    }

    fn name(&self) -> &'static str {
        lock(&self.0).kind()
    }

    fn read_string(&self, offset: u64, size: u8, into: &mut [u8]) {
        let mut device = lock(&self.0);
        for element in into.chunks_mut(size.into()) {
            let value = device.read(offset, size).to_le_bytes();
            element.copy_from_slice(&value[..element.len()]);
        }
    }

    fn write_string(&self, offset: u64, size: u8, from: &[u8]) {
        let mut device = lock(&self.0);
        for element in from.chunks(size.into()) {
            device.write(offset, size, value_of(element));
        }
    }
}

/// What a read of nothing answers.
const ALL_ONES: u64 = u64::MAX;

#[derive(Debug, Clone)]
struct Range {
    base: u64,
    len: u64,
    /// The device's offset of the first address.
    offset: u64,
    region: Arc<dyn Region>,
}

impl Range {
    fn overlaps(&self, base: u64, len: u64) -> bool {
        // No range wraps: `attach` refuses them.
        self.base < base + len && base < self.base + self.len
    }
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum BusError {
    #[error("addresses {base:#x} to {last:#x} are taken by {by}")]
    Taken {
        base: u64,
        last: u64,
        by: &'static str,
    },
    #[error("{len} addresses from {base:#x} are no range of this bus")]
    NoRange { base: u64, len: u64 },
}

/// One address space of devices.
#[derive(Debug)]
pub struct Bus {
    /// One past the last address.
    end: u64,
    ranges: Mutex<Arc<Vec<Range>>>,
    generation: AtomicU64,
}

impl Bus {
    /// A bus of addresses below `end`.
    #[must_use]
    pub fn new(end: u64) -> Bus {
        Bus {
            end,
            ranges: Mutex::default(),
            generation: AtomicU64::new(0),
        }
    }

    /// Puts a device behind `len` addresses from `base`; the first is the device's `offset`. vCPUs
    /// see it at their next access.
    ///
    /// # Errors
    /// When the range is empty, outside the bus, or taken.
    pub fn attach(
        &self,
        base: u64,
        len: u64,
        offset: u64,
        device: SharedDevice,
    ) -> Result<(), BusError> {
        self.attach_region(base, len, offset, Arc::new(Locked(device)))
    }

    /// As [`Bus::attach`], for what is no device.
    ///
    /// # Errors
    /// When the range is empty, outside the bus, or taken.
    pub fn attach_region(
        &self,
        base: u64,
        len: u64,
        offset: u64,
        region: Arc<dyn Region>,
    ) -> Result<(), BusError> {
        let end = base.checked_add(len).filter(|&end| end <= self.end);
        if len == 0 || end.is_none() {
            return Err(BusError::NoRange { base, len });
        }
        let mut ranges = lock(&self.ranges);
        if let Some(other) = ranges.iter().find(|range| range.overlaps(base, len)) {
            return Err(BusError::Taken {
                base,
                last: base + len - 1,
                by: other.region.name(),
            });
        }
        let mut changed = ranges.as_ref().clone();
        changed.push(Range {
            base,
            len,
            offset,
            region,
        });
        changed.sort_by_key(|range| range.base);
        *ranges = Arc::new(changed);
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Takes away whatever begins at `base`. Does nothing if nothing does.
    pub fn detach(&self, base: u64) {
        let mut ranges = lock(&self.ranges);
        let mut changed = ranges.as_ref().clone();
        changed.retain(|range| range.base != base);
        *ranges = Arc::new(changed);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// A view for one thread.
    #[must_use]
    pub fn view(self: &Arc<Bus>) -> BusView {
        BusView {
            generation: self.generation.load(Ordering::Acquire),
            ranges: Arc::clone(&lock(&self.ranges)),
            bus: Arc::clone(self),
        }
    }
}

/// One thread's way to the devices of a bus.
#[derive(Debug)]
pub struct BusView {
    bus: Arc<Bus>,
    generation: u64,
    ranges: Arc<Vec<Range>>,
}

impl BusView {
    /// Reads `size` bytes (up to 8), little-endian; all-ones where there is nothing.
    pub fn read(&mut self, address: u64, size: u8) -> u64 {
        self.refresh();
        let size = size.min(8);
        if let Some((range, offset)) = self.find(address, size) {
            return range.region.read(offset, size) & mask(size);
        }
        // Nothing there, an odd size, or an access that leaves its device: byte by byte.
        let bytes = (0..size).map(|index| {
            let byte = self.read_byte(address.wrapping_add(u64::from(index)));
            (byte & 0xff) << (8 * index)
        });
        bytes.fold(0, |value, byte| value | byte)
    }

    /// Writes the low `size` bytes (up to 8) of `value`; dropped where there is nothing.
    pub fn write(&mut self, address: u64, size: u8, value: u64) {
        self.refresh();
        let size = size.min(8);
        if let Some((range, offset)) = self.find(address, size) {
            range.region.write(offset, size, value & mask(size));
            return;
        }
        for index in 0..size {
            let at = address.wrapping_add(u64::from(index));
            if let Some((range, offset)) = self.find(at, 1) {
                range.region.write(offset, 1, (value >> (8 * index)) & 0xff);
            }
        }
    }

    /// Reads elements of 1, 2 or 4 bytes at one address, one after the other.
    pub fn read_string(&mut self, address: u64, size: u8, into: &mut [u8]) {
        self.refresh();
        if let Some((range, offset)) = self.find(address, size) {
            range.region.read_string(offset, size, into);
            return;
        }
        for element in into.chunks_mut(size.max(1).into()) {
            let value = self.read(address, size).to_le_bytes();
            element.copy_from_slice(&value[..element.len()]);
        }
    }

    /// Writes likewise.
    pub fn write_string(&mut self, address: u64, size: u8, from: &[u8]) {
        self.refresh();
        if let Some((range, offset)) = self.find(address, size) {
            range.region.write_string(offset, size, from);
            return;
        }
        for element in from.chunks(size.max(1).into()) {
            self.write(address, size, value_of(element));
        }
    }

    fn read_byte(&self, address: u64) -> u64 {
        match self.find(address, 1) {
            Some((range, offset)) => range.region.read(offset, 1),
            None => ALL_ONES,
        }
    }

    /// The device that holds the whole access, if the access has a natural size.
    fn find(&self, address: u64, size: u8) -> Option<(&Range, u64)> {
        if !matches!(size, 1 | 2 | 4 | 8) {
            return None;
        }
        let after = self.ranges.partition_point(|range| range.base <= address);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        let offset = address - range.base;
        (offset < range.len && range.len - offset >= u64::from(size))
            .then_some((range, range.offset.wrapping_add(offset)))
    }

    fn refresh(&mut self) {
        let newest = self.bus.generation.load(Ordering::Acquire);
        if newest != self.generation {
            self.ranges = Arc::clone(&lock(&self.bus.ranges));
            self.generation = newest;
        }
    }
}

fn mask(size: u8) -> u64 {
    if size >= 8 {
        u64::MAX
    } else {
        (1 << (8 * size)) - 1
    }
}

#[cfg(test)]
mod tests;
