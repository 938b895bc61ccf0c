//! Virtio devices, set up as drivers do, and queues as no driver would make them: loops of descriptors, wild
//! addresses, tables of nonsense, indices that run ahead, and all that while they are served.
//! Spec: VIRTIO 1.2, "Split Virtqueues", "Virtio Over PCI Bus".

use crate::Machine;
use crate::hardware_raw::{load, relax, store};
use crate::pci::Function;
use crate::places::ARENA;
use crate::random::Random;

const VENDOR: u16 = 0x1af4;
const BALLOON: u16 = 5;
const PART_COMMON: u8 = 1;
const PART_NOTIFY: u8 = 2;
const PART_DEVICE: u8 = 4;

const FEATURE_SELECT: u64 = 0x08;
const FEATURE: u64 = 0x0c;
const QUEUE_COUNT: u64 = 0x12;
const STATUS: u64 = 0x14;
const QUEUE_SELECT: u64 = 0x16;
const QUEUE_SIZE: u64 = 0x18;
const QUEUE_VECTOR: u64 = 0x1a;
const QUEUE_ENABLE: u64 = 0x1c;
const DESCRIPTORS: u64 = 0x20;
const DRIVER: u64 = 0x28;
const DEVICE: u64 = 0x30;

const DRIVER_OK: u64 = 15;
const NEEDS_RESET: u64 = 0x40;
const EVENT_INDEX: u64 = 1 << 29;
const INDIRECT: u64 = 1 << 28;
/// In a descriptor: another follows, the device writes, it is a table of more.
const NEXT: u64 = 1;
const WRITE: u64 = 2;
const TABLE: u64 = 4;

/// Entries of our queues, of which a device may allow more.
const ENTRIES: u64 = 16;
/// Chains of a queue have places of their own.
const CHAINS: u64 = 4;
const CHAIN_LEN: u64 = ENTRIES / CHAINS;
const QUEUES: u64 = 6;
/// Where queue 0 lies, and how far from it the next.
const RINGS: u64 = 0x40_0000;
const RINGS_LEN: u64 = 0x4000;
/// Requests for devices begin with something that makes sense often enough.
const HEADERS: u64 = 0x50_0000;
const TABLES: u64 = 0x51_0000;
/// What else is read and written.
const RAM: u64 = 0x80_0000;
const HEADER_LEN: u64 = 0x100;
const HEADER_COUNT: u64 = 64;

/// Where the parts of a device's registers are.
#[derive(Default)]
struct Device {
    /// 2 for a block device.
    kind: u16,
    /// That we use.
    queues: u64,
    common: u64,
    notify: u64,
    own: u64,
}

pub(crate) fn attack(machine: &mut Machine, random: &Random) {
    for function in Function::all() {
        if function.vendor() != VENDOR || function.device() < 0x1040 {
            continue;
        }
        let device = find(machine, function);
        if device.kind == BALLOON {
            // What others have left would be numbers of pages.
            (ARENA..machine.places.end)
                .step_by(8)
                .for_each(|at| store(at, 8, 0));
        }
        for _ in 0..4 {
            start(&device, machine, random);
            abuse(&device, machine, random);
        }
        // Left as it was found.
        store(device.common + STATUS, 1, 0);
    }
}

fn find(machine: &mut Machine, function: Function) -> Device {
    let mut device = Device {
        kind: function.device() - 0x1040,
        ..Device::default()
    };
    for (at, part) in function.virtio_parts() {
        let bar = (function.read(at + 4) & 0xff) as u8;
        let offset = u64::from(function.read(at + 8));
        let place = match part {
            PART_COMMON => &mut device.common,
            PART_NOTIFY => &mut device.notify,
            PART_DEVICE => &mut device.own,
            _ => continue,
        };
        *place = function.region(bar, &mut machine.windows).base + offset;
    }
    store(device.common + STATUS, 1, 0);
    function.enable(7);
    device.queues = load(device.common + QUEUE_COUNT, 2).clamp(1, QUEUES);
    device
}

/// As a driver does, if one that is not to be trusted.
fn start(device: &Device, machine: &Machine, random: &Random) {
    let common = device.common;
    for status in [0, 1, 3] {
        store(common + STATUS, 1, status);
    }
    let mut features = [0, 1];
    store(common, 4, 0);
    features[0] = load(common + 4, 4);
    if random.once_in(4) {
        features[0] &= random.next() | INDIRECT;
    } else if random.once_in(4) {
        features[0] &= !EVENT_INDEX;
    } else if random.once_in(16) {
        features[0] |= INDIRECT | EVENT_INDEX;
    }
    for (select, value) in (0..).zip(features) {
        store(common + FEATURE_SELECT, 4, select);
        store(common + FEATURE, 4, value);
    }
    store(common + STATUS, 1, 11);
    for queue in 0..QUEUES {
        let [descriptors, driver, used] = rings(queue);
        let odd = random.below(40);
        let place = |good, which, random: &Random| match odd == which {
            true => machine.places.wild(random),
            false => good,
        };
        let size = if odd == 3 { random.odd() } else { ENTRIES };
        store(common + QUEUE_SELECT, 2, queue);
        store(common + QUEUE_SIZE, 2, size);
        store(common + QUEUE_VECTOR, 2, random.pick(&[0xffff, queue]));
        store(common + DESCRIPTORS, 8, place(descriptors, 0, random));
        store(common + DRIVER, 8, place(driver, 1, random));
        store(common + DEVICE, 8, place(used, 2, random));
        clear(queue);
        store(common + QUEUE_ENABLE, 2, 1);
    }
    store(common + STATUS, 1, DRIVER_OK);
}

/// Descriptors, what the driver has to offer, what the device has used.
fn rings(queue: u64) -> [u64; 3] {
    let base = RINGS + queue * RINGS_LEN;
    [base, base + 0x1000, base + 0x2000]
}

fn clear(queue: u64) {
    let [descriptors, driver, used] = rings(queue);
    for at in (0..0x200).step_by(8) {
        for ring in [descriptors, driver, used] {
            store(ring + at, 8, 0);
        }
    }
}

fn abuse(device: &Device, machine: &Machine, random: &Random) {
    for _ in 0..24 {
        let queue = random.below(device.queues);
        write_headers(device.kind, machine, random);
        write_chains(queue, random);
        for _ in 0..random.pick(&[0, 0, 0, 1, 4]) {
            damage(queue, machine, random);
        }
        offer(queue, random);
        store(device.notify + queue * 4, 2, queue);
        relax(random.pick(&[0, 1000, 4000]));
        // While it is served.
        for _ in 0..random.below(20) {
            match random.below(64) {
                0 => damage(queue, machine, random),
                1..=4 => offer(queue, random),
                5..=9 => store(device.notify + random.below(0x100), 2, random.odd()),
                10..=19 => {
                    let place = random.below(HEADER_COUNT * HEADER_LEN) & !7;
                    let word = if device.kind == BALLOON {
                        pages(random)
                    } else {
                        random.odd()
                    };
                    store(HEADERS + place, 8, word);
                }
                20..=24 => {
                    let [_, _, used] = rings(queue);
                    store(used + random.below(0x80), random.size(), random.next());
                }
                _ => relax(400),
            }
        }
        match random.below(48) {
            0 => store(device.common + (random.below(0x40) & !3), 4, random.odd()),
            1..=4 => store(device.own + random.below(0x40), random.size(), random.odd()),
            5..=8 => {
                load(device.own + random.below(0x1000), random.size());
            }
            9 => start(device, machine, random),
            _ => {}
        }
        // A device that has given up takes nothing more.
        if load(device.common + STATUS, 1) & NEEDS_RESET != 0 {
            start(device, machine, random);
        }
    }
}

fn offer(queue: u64, random: &Random) {
    let [_, driver, _] = rings(queue);
    let index = load(driver + 2, 2);
    let count = random.below(CHAINS);
    for ahead in 0..count {
        let head = match random.once_in(100) {
            true => random.odd(),
            false => random.below(CHAINS) * CHAIN_LEN,
        };
        store(driver + 4 + (index + ahead) % ENTRIES * 2, 2, head);
    }
    let ahead = if random.once_in(50) {
        random.odd()
    } else {
        count
    };
    store(driver, 2, random.pick(&[0, 0, 1]));
    store(driver + 2, 2, index.wrapping_add(ahead));
    // Where the device shall be told that it may interrupt.
    store(driver + 4 + ENTRIES * 2, 2, random.odd());
}

/// Chains as drivers make them: what the device reads, then what it may write.
fn write_chains(queue: u64, random: &Random) {
    let [descriptors, _, _] = rings(queue);
    // Both, or as queues to devices and queues from them have it.
    let way = random.pick(&[0, 0, 0, 1, 2]);
    for chain in 0..CHAINS {
        let count = 2 + random.below(CHAIN_LEN - 1);
        let readable = match way {
            0 => 1 + random.below(count - 1),
            1 => count,
            _ => 0,
        };
        for index in 0..count {
            let header = HEADERS + random.below(HEADER_COUNT) * HEADER_LEN;
            let address = match random.once_in(3) {
                true => RAM + random.below(0x10_0000),
                false => header,
            };
            let len = match (index, index + 1 == count) {
                (0, _) => random.pick(&[16, 16, 24, 44, 40, 64, 4, 4096]),
                (_, true) => random.pick(&[1, 1, 24, 80, 408, 1526]),
                _ => random.pick(&[512, 4096, 32, 64, 513, 0]),
            };
            let writes = u64::from(index >= readable) * WRITE;
            let goes_on = u64::from(index + 1 < count) * NEXT;
            let at = descriptors + (chain * CHAIN_LEN + index) * 16;
            describe(
                at,
                [
                    address,
                    len,
                    writes | goes_on,
                    chain * CHAIN_LEN + index + 1,
                ],
            );
        }
    }
}

/// Address, length, flags and what follows.
fn describe(at: u64, [address, len, flags, next]: [u64; 4]) {
    store(at, 8, address);
    store(at + 8, 4, len);
    store(at + 12, 2, flags);
    store(at + 14, 2, next);
}

/// One descriptor of a queue as it must not be.
fn damage(queue: u64, machine: &Machine, random: &Random) {
    let [descriptors, _, _] = rings(queue);
    let at = descriptors + random.below(ENTRIES) * 16;
    match random.below(8) {
        0 | 1 => store(at, 8, machine.places.wild(random)),
        2 => store(at + 8, 4, random.odd()),
        3 => store(at + 8, 4, random.below(1 << 24)),
        4 => store(at + 12, 2, random.next() & 7),
        // A loop, or nowhere.
        5 => store(
            at + 14,
            2,
            random.pick(&[random.below(ENTRIES), random.odd()]),
        ),
        6 => {
            // A table: of requests' words, of the rings themselves, of anything.
            let header = HEADERS + random.below(HEADER_COUNT) * HEADER_LEN;
            let table = [header, descriptors, machine.places.wild(random)];
            let len = random.pick(&[16, 64, 256, 0x1000, 0xf_fff0, 15, random.odd()]);
            describe(at, [random.pick(&table), len, TABLE, 0]);
        }
        // A good one, which is a chain of its own in another place.
        _ => {
            let table = TABLES + random.below(16) * 0x100;
            for index in 0..4 {
                let flags = if index < 3 { NEXT } else { WRITE };
                let header = HEADERS + random.below(HEADER_COUNT) * HEADER_LEN;
                describe(table + index * 16, [header, 64, flags, index + 1]);
            }
            describe(at, [table, 64, TABLE, 0]);
        }
    }
}

fn write_headers(kind: u16, machine: &Machine, random: &Random) {
    for number in 0..HEADER_COUNT {
        // Tables of descriptors, requests, lists of pages.
        let at = HEADERS + number * HEADER_LEN;
        for word in 0..HEADER_LEN / 8 {
            let value = match random.below(4) {
                _ if kind == BALLOON => pages(random),
                0 => machine.places.wild(random),
                1 => random.odd(),
                2 => random.below(64),
                _ => random.below(8) << 32 | random.below(8),
            };
            store(at + word * 8, 8, value);
        }
        let command = match kind {
            // A disk: read, write, flush, discard and others; then a sector.
            2 => random.pick(&[0, 1, 4, 8, 11, 13, random_low(number)]),
            // A screen.
            16 => 0x100 + random.below(0x10) + random.pick(&[0, 0, 0, 0x200]),
            // A folder: the length, and what is asked for.
            26 => random.pick(&[40, 56, 64, 104, 0xffff_ffff]) | random.below(52) << 32,
            // Sound: what is asked for, or a stream, and which one.
            25 => {
                let code = random.pick(&[0x100, 0x101, 0x101, 0x102, 0x103, 0x104, 0x105, 0]);
                random.pick(&[code, code, 0, 1]) | random.below(3) << 32
            }
            // Sockets: from whom, to whom.
            19 => random.pick(&[3, 3, 3, 2, 0]),
            _ => continue,
        };
        store(at, 8, command);
        if kind == 25 {
            // Sizes, no features; one or two channels of some format and rate.
            store(at + 8, 8, 0x780 << 32 | 0xf00);
            let channels = 1 + random.below(2);
            let format = random.pick(&[4, 5, 15, 17, 19, 24]);
            let rate = random.below(14);
            store(at + 16, 8, (channels | format << 8 | rate << 16) << 32);
        }
        if kind == 19 {
            store(at + 8, 8, 2);
            store(at + 16, 8, random.below(4) | random.below(1100) << 32);
            store(
                at + 24,
                8,
                random.pick(&[0, 16, 1 << 16]) | 1 << 32 | random.below(8) << 48,
            );
        }
    }
}

/// Numbers of pages to give away, which are not this program's, wherever in them a list begins.
fn pages(random: &Random) -> u64 {
    let low = 0x400 + random.below(0x1c00);
    let high = random.pick(&[low, 0x400 + random.below(0x1c00), u64::from(u32::MAX)]);
    high << 32 | low
}

fn random_low(number: u64) -> u64 {
    number & 0x1f
}
