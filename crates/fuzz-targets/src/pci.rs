//! PCI: configuration space by ports and by memory, base address registers, MSI-X, and the virtio
//! devices behind them with hostile queues.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use devices::pci::{
    COMMAND, ConfigPorts, DeviceFunction, Ecam, IoWindow, MemoryWindow, PciFunction, PciRoot,
    PciWindows,
};
use devices::testing::{FakeClock, FakeLine, FakeLines};
use devices::virtio::{
    Balloon, BalloonHandle, Block, BlockOptions, Console, ConsoleHandle, Fs, Gpu, GpuHandle,
    HotplugMemory, HotplugMemoryHandle, Keyboard, Net, NetOptions, Port, QueueState, Rng, RngLimit,
    Sound, Tablet, TabletEvent, VirtioPci, Vsock, VsockOptions, block::serve_prepared,
    hotplug_memory,
};
use devices::{Device, DeviceState};
use display::Picture;
use memory::{Gpa, GuestMemory, RamRange};
use netio::Hub;
use vm_memory::{Bytes, GuestAddress};

use crate::board::Nobody;
use crate::devices::forge;
use crate::disk::MemoryDisk;
use crate::{Input, strict};

const RAM: u64 = 0x2_0000;
/// Of virtio devices.
const KINDS: u8 = 12;
const MEMORY: u64 = 0xc000_0000;
const MEMORY64: u64 = 0x40_0000_0000;
const IO: u16 = 0xc000;

pub(crate) fn windows() -> PciWindows {
    PciWindows {
        memory32: MEMORY..0xe000_0000,
        memory64: Some(MEMORY64..MEMORY64 + 0x1000_0000),
        io: u64::from(IO)..0xd000,
    }
}

pub(crate) fn memory() -> GuestMemory {
    let ram = RamRange {
        base: Gpa(0),
        len: RAM,
    };
    GuestMemory::new(&[ram]).expect("memory")
}

/// The host's hands on a device.
#[derive(Default)]
pub(crate) struct Hands {
    console: Option<ConsoleHandle>,
    balloon: Option<BalloonHandle>,
    plugged: Option<HotplugMemoryHandle>,
    gpu: Option<GpuHandle>,
}

pub(crate) fn virtio(kind: u8, memory: &GuestMemory) -> (VirtioPci, Hands) {
    let (memory, sink, line) = (memory.clone(), Arc::new(Nobody::default()), FakeLine::new());
    let mut hands = Hands::default();
    let made = match kind % KINDS {
        0 => {
            let disk = Arc::new(MemoryDisk::new(0x4_0000));
            VirtioPci::new(
                Block::new(disk, &BlockOptions::default()),
                memory,
                sink,
                line,
            )
        }
        1 => {
            let named = Port::named("agent", Box::new(io::sink()));
            let console = Console::new(vec![Port::console(Box::new(io::sink())), named]);
            hands.console = Some(console.handle());
            VirtioPci::new(console, memory, sink, line)
        }
        2 => VirtioPci::new(Rng::new(RngLimit::default()), memory, sink, line),
        3 => {
            let balloon = Balloon::new(memory.clone());
            hands.balloon = Some(balloon.handle());
            VirtioPci::new(balloon, memory, sink, line)
        }
        4 => {
            // All that there is, and a whole block to run beyond it.
            let region = RamRange {
                base: Gpa(0),
                len: 4 * hotplug_memory::BLOCK,
            };
            let device = HotplugMemory::new(memory.clone(), region);
            hands.plugged = Some(device.handle());
            VirtioPci::new(device, memory, sink, line)
        }
        5 => {
            let options = VsockOptions {
                cid: 3,
                listener: None,
                outward: None,
            };
            let vsock = Vsock::new(options).expect("descriptors");
            VirtioPci::new(vsock, memory, sink, line)
        }
        7 => {
            let tablet = Tablet::new().expect("a descriptor");
            let _ = tablet.handle().point(TabletEvent::default());
            VirtioPci::new(tablet, memory, sink, line)
        }
        8 => {
            let gpu = Gpu::new(memory.clone(), (640, 400), None).expect("a descriptor");
            hands.gpu = Some(gpu.handle());
            VirtioPci::new(gpu, memory, sink, line)
        }
        9 => {
            let keyboard = Keyboard::new().expect("a descriptor");
            let _ = keyboard.handle().key(&[0x1c]);
            VirtioPci::new(keyboard, memory, sink, line)
        }
        10 => VirtioPci::new(Sound::new(FakeClock::new(), None), memory, sink, line),
        6 => VirtioPci::new(Fs::new(crate::folder::to_read(), "a"), memory, sink, line),
        _ => {
            // Alone on its hub, the card hears itself.
            let link = Hub::new().plug().expect("a port");
            let options = NetOptions {
                mac: [2, 0, 0, 0, 0, 1],
                pairs: 2,
            };
            let net = Net::new(vec![Box::new(link)], &options);
            VirtioPci::new(net, memory, sink, line)
        }
    };
    (made.expect("a device"), hands)
}

fn root(memory: &GuestMemory) -> PciRoot {
    let root = PciRoot::new(windows());
    let at = |device| DeviceFunction::new(device, 0);
    for kind in 0..KINDS {
        let (function, _) = virtio(kind, memory);
        root.insert(at(kind + 1), function).expect("a free slot");
        root.set_interrupt_line(at(kind + 1), 16);
    }
    root.assign_bars().expect("room");
    root
}

/// The configuration ports of a bus with virtio devices.
pub(crate) fn function_ports() -> impl Device {
    ConfigPorts::new(root(&memory()), FakeLines::new())
}

/// All ways to a bus with a host bridge and virtio devices.
pub(crate) fn bus(bytes: &[u8]) {
    strict();
    let mut input = Input::new(bytes);
    let memory = memory();
    let root = root(&memory);
    let mut ports = ConfigPorts::new(root.clone(), FakeLines::new());
    let mut ecam = Ecam::new(root.clone());
    let mut low = MemoryWindow::new(root.clone(), MEMORY);
    let mut high = MemoryWindow::new(root.clone(), MEMORY64);
    let mut io = IoWindow::new(root.clone(), IO);
    while !input.is_empty() {
        let what = input.byte();
        let size = [1, 2, 4, 8][usize::from(what >> 6)];
        let function = u64::from(what >> 4 & 3);
        let (device, offset): (&mut dyn Device, u64) = match what & 7 {
            0 => (&mut ports, u64::from(input.byte() & 7)),
            1 => {
                let register = u64::from(input.byte());
                ports.write(0, 4, 0x8000_0000 | function << 11 | register & 0xfc);
                (&mut ports, 4 + (register & 3))
            }
            2 | 3 => (&mut ecam, function << 15 | u64::from(input.u16() & 0xfff)),
            4 => (&mut low, input.number() & 0x1fff_ffff),
            5 => (&mut high, u64::from(input.u32() & 0x1_ffff)),
            6 => (&mut io, u64::from(input.u16() & 0xfff)),
            _ => {
                control(&root, &mut ports, input.byte());
                continue;
            }
        };
        if what & 8 == 0 {
            device.read(offset, size.min(if what & 7 < 4 { 4 } else { 8 }));
        } else {
            device.write(offset, size, input.number());
        }
    }
}

fn control(root: &PciRoot, ports: &mut ConfigPorts, what: u8) {
    match what & 7 {
        0 => root.quiesce(),
        1 => root.resume(),
        2 => root.reset(),
        3 => {
            let _ = root.assign_bars();
        }
        4 => {
            root.quiesce();
            let saved = ports.save();
            assert_eq!(ports.restore(&saved), Ok(()), "its own state is refused");
            assert_eq!(ports.save(), saved);
            root.resume();
        }
        _ => {}
    }
}

/// Offsets in the common configuration. Spec: VIRTIO 1.2, "Common configuration structure layout".
mod common {
    pub(super) const DRIVER_FEATURE_SELECT: u64 = 0x08;
    pub(super) const DRIVER_FEATURE: u64 = 0x0c;
    pub(super) const DEVICE_STATUS: u64 = 0x14;
    pub(super) const QUEUE_SELECT: u64 = 0x16;
    pub(super) const QUEUE_SIZE: u64 = 0x18;
    pub(super) const QUEUE_ENABLE: u64 = 0x1c;
    pub(super) const QUEUE_DESCRIPTORS: u64 = 0x20;
    pub(super) const QUEUE_DRIVER: u64 = 0x28;
    pub(super) const QUEUE_DEVICE: u64 = 0x30;
}
pub(crate) const NOTIFY: u64 = 0x3000;
const QUEUES: u64 = 8;

/// Where the rings of a queue are: descriptors, available, used.
pub(crate) fn rings(queue: u64) -> [u64; 3] {
    let base = 0x1000 + queue * 0x2000;
    [base, base + 0x1000, base + 0x1800]
}

/// Sets a device up as a driver does, so that its queues are served.
pub(crate) fn start(function: &mut VirtioPci, features: u32) {
    function.config_write(COMMAND, 2, 6);
    for status in [1, 3] {
        function.bar_write(0, common::DEVICE_STATUS, 1, status);
    }
    for (select, value) in [(0, features), (1, 1)] {
        function.bar_write(0, common::DRIVER_FEATURE_SELECT, 4, select);
        function.bar_write(0, common::DRIVER_FEATURE, 4, value.into());
    }
    function.bar_write(0, common::DEVICE_STATUS, 1, 11);
    for queue in 0..QUEUES {
        let [descriptors, driver, device] = rings(queue);
        function.bar_write(0, common::QUEUE_SELECT, 2, queue);
        function.bar_write(0, common::QUEUE_SIZE, 2, 16);
        function.bar_write(0, common::QUEUE_DESCRIPTORS, 8, descriptors);
        function.bar_write(0, common::QUEUE_DRIVER, 8, driver);
        function.bar_write(0, common::QUEUE_DEVICE, 8, device);
        function.bar_write(0, common::QUEUE_ENABLE, 2, 1);
    }
    function.bar_write(0, common::DEVICE_STATUS, 1, 15);
}

/// Descriptors, rings and request headers as the input likes them.
fn write_queue(memory: &GuestMemory, queue: u64, input: &mut Input<'_>) {
    let [descriptors, driver, _] = rings(queue);
    let ram = memory.ram();
    let put = |at: u64, bytes: &[u8]| {
        // What does not fit is not written.
        let _ = ram.write(bytes, GuestAddress(at));
    };
    for index in 0..u64::from(input.byte() & 31) {
        let place = input.choose(&[0x1_8000, 0x1_9000, 0x1_a000, RAM - 16, descriptors, driver]);
        let address = if input.bool() { place } else { input.number() };
        let len = match input.byte() {
            choice @ 0..0xc0 => [16, 1, 512, 4096, 513, 8, 0, 20][usize::from(choice & 7)],
            _ => input.u32(),
        };
        let flags = u16::from(input.byte() & 7);
        let next = match input.byte() {
            choice @ 0..0xe0 => u16::try_from(index + 1).unwrap_or(0) + u16::from(choice == 0),
            _ => input.u16(),
        };
        let mut entry = address.to_le_bytes().to_vec();
        entry.extend(len.to_le_bytes());
        entry.extend(flags.to_le_bytes());
        entry.extend(next.to_le_bytes());
        put(descriptors + index * 16, &entry);
    }
    for slot in 0..16 {
        put(driver + 4 + slot * 2, &[input.byte() & 0x1f, 0]);
    }
    let index = match input.byte() {
        count @ 0..0xf0 => u16::from(count & 15),
        _ => input.u16(),
    };
    put(driver, &u16::from(input.byte() & 1).to_le_bytes());
    put(driver + 2, &index.to_le_bytes());
    for place in [0x1_8000, 0x1_9000, 0x1_a000] {
        let mut header = u32::from(input.byte() & 15).to_le_bytes().to_vec();
        header.extend([0; 4]);
        header.extend(input.number().to_le_bytes());
        header.extend(input.u32().to_le_bytes());
        put(place, &header);
    }
}

/// A queue of block requests, served without threads.
pub(crate) fn block_requests(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let memory = memory();
    write_queue(&memory, 0, &mut input);
    let [descriptors, driver, device] = rings(0);
    let odd = input.byte();
    let or = |ordinary, input: &mut Input<'_>, bit| {
        if odd & bit == 0 {
            ordinary
        } else {
            input.number()
        }
    };
    let queue = QueueState {
        size: if odd & 1 == 0 { 16 } else { input.u16() },
        enabled: true,
        descriptors: or(descriptors, &mut input, 2),
        driver: or(driver, &mut input, 4),
        device: or(device, &mut input, 8),
        next_available: if odd & 16 == 0 { 0 } else { input.u16() },
        next_used: if odd & 32 == 0 { 0 } else { input.u16() },
    };
    let _ = serve_prepared(&memory, &queue, Arc::new(MemoryDisk::new(0x4_0000)));
}

/// One virtio device with its threads, a driver that sets it up, and then does anything.
pub(crate) fn virtio_devices(bytes: &[u8]) {
    strict();
    let mut input = Input::new(bytes);
    let memory = memory();
    let kind = input.byte();
    let (mut function, hands) = virtio(kind, &memory);
    start(&mut function, input.u32());
    while !input.is_empty() {
        let what = input.byte();
        match what & 15 {
            0..=3 => {
                let queue = u64::from(what >> 4) % QUEUES;
                write_queue(&memory, queue, &mut input);
                function.bar_write(0, NOTIFY + queue * 4, 2, queue);
                std::thread::yield_now();
            }
            4 => {
                let (offset, value) = (u64::from(input.u16() & 0x7fff), input.number());
                function.bar_write(0, offset, [1, 2, 4, 8][usize::from(what >> 6)], value);
            }
            5 => {
                function.bar_read(
                    0,
                    u64::from(input.u16() & 0x7fff),
                    [1, 2, 4, 8][usize::from(what >> 6)],
                );
            }
            6 => function.config_write(input.u16() & 0xff, 4, input.u32()),
            7 => {
                function.config_read(input.u16() & 0xff, 4);
            }
            8 => start(&mut function, input.u32()),
            9 if what & 0x30 == 0 => function.reset(),
            10 => save_and_restore(&mut function, &mut input),
            11 => talk(&hands, &mut input),
            12 => {
                // Between the worker's looks at memory.
                let at = GuestAddress(u64::from(input.u16()) * 2);
                let _ = memory.ram().write(&input.number().to_le_bytes(), at);
            }
            _ => {
                for queue in 0..QUEUES {
                    function.bar_write(0, NOTIFY + queue * 4, 2, queue);
                }
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    }
    function.quiesce();
}

pub(crate) fn save_and_restore(function: &mut VirtioPci, input: &mut Input<'_>) {
    function.quiesce();
    let saved = function.save();
    assert_eq!(function.restore(&saved), Ok(()), "its own state is refused");
    assert_eq!(function.save(), saved);
    if input.byte() & 3 == 0 {
        let mut bytes = saved.bytes.clone();
        forge(&mut bytes, input);
        let forged = DeviceState { bytes, ..saved };
        let _ = function.restore(&forged);
    }
    function.resume();
}

pub(crate) fn talk(hands: &Hands, input: &mut Input<'_>) {
    if let Some(balloon) = &hands.balloon {
        balloon.set_target(input.number());
        balloon.ask_statistics();
        let _ = balloon.report();
    }
    if let Some(plugged) = &hands.plugged {
        plugged.request(input.number());
        let report = plugged.report();
        assert!(report.plugged <= report.size);
    }
    if let Some(gpu) = &hands.gpu {
        let _ = gpu.resize(input.u16(), input.u16());
        let mut rgb = vec![0; 3 * 64 * 64];
        if let Some(cursor) = gpu.cursor(None) {
            cursor.put_over(&mut rgb, 64);
        }
        let mut picture = Picture::default();
        gpu.draw(input.bool(), &mut picture);
    }
    let Some(handle) = &hands.console else { return };
    let port = usize::from(input.byte() & 3);
    let len = usize::from(input.u16() & 0x3fff);
    let _ = handle.receive(port, &vec![b'x'; len]);
    handle.resize(input.u16(), input.u16());
    handle.set_open(port, input.bool());
}
