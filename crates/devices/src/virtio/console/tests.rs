#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::pci::PciFunction;
use crate::testing::FakeOutput;
use crate::virtio::console::{F_MULTIPORT, F_SIZE};
use crate::virtio::testing::{Buffer, Driver, NEXT, QUEUE_SIZE, RAM, wait_until};
use crate::virtio::{Console, ConsoleHandle, Port};

const BOTH: u64 = F_SIZE | F_MULTIPORT;
const CONTROL_RECEIVE: usize = 2;
const CONTROL_TRANSMIT: usize = 3;
/// Of port 1.
const RECEIVE: usize = 4;
const TRANSMIT: usize = 5;

struct Setup {
    driver: Driver,
    handle: ConsoleHandle,
    outputs: [FakeOutput; 2],
}

fn setup() -> Setup {
    let outputs = [FakeOutput::default(), FakeOutput::default()];
    let console = Console::new(vec![
        Port::console(Box::new(outputs[0].clone())),
        Port::named("org.innkeeper.agent", Box::new(outputs[1].clone())),
    ]);
    let handle = console.handle();
    Setup {
        driver: Driver::new(console),
        handle,
        outputs,
    }
}

fn control(port: u32, event: u16, value: u16) -> Vec<u8> {
    let mut bytes = port.to_le_bytes().to_vec();
    bytes.extend(event.to_le_bytes());
    bytes.extend(value.to_le_bytes());
    bytes
}

fn send_control(driver: &mut Driver, port: u32, event: u16, value: u16) {
    driver.submit(
        CONTROL_TRANSMIT,
        &[Buffer::Out(&control(port, event, value))],
    );
    driver.answer(CONTROL_TRANSMIT);
}

/// The next control message: port, event, value, and what follows.
fn take_control(driver: &mut Driver) -> (u32, u16, u16, Vec<u8>) {
    let head = driver.submit(CONTROL_RECEIVE, &[Buffer::In(64)]);
    let (answered, len) = driver.answer(CONTROL_RECEIVE);
    assert_eq!(answered, head);
    let bytes = driver.written(CONTROL_RECEIVE, head);
    (
        u32::from_le_bytes(bytes[..4].try_into().unwrap()),
        u16::from_le_bytes(bytes[4..6].try_into().unwrap()),
        u16::from_le_bytes(bytes[6..8].try_into().unwrap()),
        bytes[8..len as usize].to_vec(),
    )
}

fn receive(driver: &mut Driver, queue: usize, room: u32) -> Vec<u8> {
    let head = driver.submit(queue, &[Buffer::In(room)]);
    let (answered, len) = driver.answer(queue);
    assert_eq!(answered, head);
    let mut bytes = driver.written(queue, head);
    bytes.truncate(len as usize);
    bytes
}

#[test]
fn the_multiport_protocol_introduces_every_port() {
    let mut setup = setup();
    let driver = &mut setup.driver;
    driver.start(BOTH);
    send_control(driver, 0xffff_ffff, 0, 1);
    assert_eq!(take_control(driver), (0, 1, 1, vec![]));
    assert_eq!(take_control(driver), (1, 1, 1, vec![]));
    send_control(driver, 0, 3, 1);
    assert_eq!(take_control(driver), (0, 4, 1, vec![]));
    assert_eq!(take_control(driver), (0, 5, 0, vec![80, 0, 25, 0]));
    assert_eq!(take_control(driver), (0, 6, 1, vec![]));
    send_control(driver, 1, 3, 1);
    let name = b"org.innkeeper.agent".to_vec();
    assert_eq!(take_control(driver), (1, 7, 1, name));
    assert_eq!(take_control(driver), (1, 6, 1, vec![]));
    assert_eq!(setup.handle.find("org.innkeeper.agent"), Some(1));
}

#[test]
fn output_reaches_the_writer_of_its_port() {
    let mut setup = setup();
    setup.driver.start(BOTH);
    setup
        .driver
        .submit(1, &[Buffer::Out(b"hello "), Buffer::Out(b"world")]);
    setup.driver.submit(TRANSMIT, &[Buffer::Out(b"agent")]);
    setup.driver.answer(1);
    setup.driver.answer(TRANSMIT);
    assert!(setup.handle.drain(Duration::from_secs(10)));
    assert_eq!(setup.outputs[0].take(), b"hello world");
    assert_eq!(setup.outputs[1].take(), b"agent");
}

#[test]
fn console_input_is_kept_until_there_are_buffers() {
    let mut setup = setup();
    assert_eq!(setup.handle.receive(0, b"early"), 5);
    setup.driver.start(BOTH);
    assert_eq!(receive(&mut setup.driver, 0, 3), b"ear");
    assert_eq!(receive(&mut setup.driver, 0, 64), b"ly");
    let head = setup.driver.submit(0, &[Buffer::In(64)]);
    assert_eq!(setup.handle.receive(0, b"late"), 4);
    assert_eq!(setup.driver.answer(0), (head, 4));
    assert_eq!(setup.handle.receive(7, b"nobody"), 0);
}

#[test]
fn a_named_port_receives_only_while_a_program_has_it_open() {
    let mut setup = setup();
    let (sender, events) = channel();
    let sender = Mutex::new(sender);
    setup.handle.on_port_event(Box::new(move |port, open| {
        sender.lock().unwrap().send((port, open)).unwrap();
    }));
    let driver = &mut setup.driver;
    driver.start(BOTH);
    driver.submit(RECEIVE, &[Buffer::In(64)]);
    assert_eq!(setup.handle.receive(1, b"command"), 7);
    std::thread::sleep(Duration::from_millis(20));
    assert!(!driver.has_answer(RECEIVE));
    send_control(driver, 1, 6, 1);
    assert_eq!(driver.answer(RECEIVE).1, 7);
    assert_eq!(events.recv_timeout(Duration::from_secs(10)), Ok((1, true)));
    assert!(setup.handle.guest_has_open(1));
    // What a program did not read is not for the next one.
    assert_eq!(setup.handle.receive(1, b"stale"), 5);
    send_control(driver, 1, 6, 0);
    assert_eq!(events.recv_timeout(Duration::from_secs(10)), Ok((1, false)));
    send_control(driver, 1, 6, 1);
    assert_eq!(events.recv_timeout(Duration::from_secs(10)), Ok((1, true)));
    assert_eq!(setup.handle.receive(1, b"fresh"), 5);
    assert_eq!(receive(driver, RECEIVE, 64), b"fresh");
    driver.start(BOTH);
    assert_eq!(
        events.recv_timeout(Duration::from_secs(10)),
        Ok((1, false)),
        "a reset closes"
    );
}

#[test]
fn input_is_bounded_and_room_is_announced() {
    let mut setup = setup();
    let much = vec![b'x'; 100 << 10];
    let accepted = setup.handle.receive(0, &much);
    assert_eq!(accepted, 64 << 10);
    assert_eq!(setup.handle.receive(0, b"more"), 0);
    assert!(!setup.handle.wait_for_room(0, Duration::from_millis(5)));
    let (sender, notices) = channel();
    let sender = Mutex::new(sender);
    setup.handle.on_room(Box::new(move || {
        let _ = sender.lock().unwrap().send(());
    }));
    setup.driver.start(BOTH);
    assert_eq!(receive(&mut setup.driver, 0, 1000).len(), 1000);
    assert_eq!(notices.recv_timeout(Duration::from_secs(10)), Ok(()));
    assert!(setup.handle.wait_for_room(0, Duration::from_secs(10)));
    assert_eq!(setup.handle.receive(0, &much), 1000);
    assert!(!setup.handle.wait_for_room(9, Duration::ZERO));
}

/// A writer that takes nothing until it is told to.
struct Gate {
    open: Receiver<()>,
    passed: FakeOutput,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A closed channel lets everything through.
        let _ = self.open.recv();
        self.passed.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_writer_stops_the_program_and_not_the_device() {
    let (open, gate) = channel();
    let passed = FakeOutput::default();
    let console = Console::new(vec![Port::console(Box::new(Gate {
        open: gate,
        passed: passed.clone(),
    }))]);
    let handle = console.handle();
    let mut driver = Driver::new(console);
    driver.start(BOTH);
    let line = [b'y'; 50 << 10];
    // One request goes to the writer's thread, one fits the queue in part.
    for _ in 0..4 {
        driver.submit(1, &[Buffer::Out(&line)]);
    }
    driver.answer(1);
    std::thread::sleep(Duration::from_millis(50));
    assert!(!handle.drain(Duration::from_millis(1)));
    // Everything else goes on: a save (with a request half written), the other direction.
    driver.function.quiesce();
    let _ = driver.function.save();
    driver.function.resume();
    assert_eq!(handle.receive(0, b"still alive"), 11);
    assert_eq!(receive(&mut driver, 0, 64), b"still alive");
    drop(open);
    for _ in 0..3 {
        driver.answer(1);
    }
    assert!(handle.drain(Duration::from_secs(10)));
    assert!(passed.take() == [b'y'; 200 << 10]);
}

/// A writer whose reader has gone.
struct Broken;

impl Write for Broken {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_broken_writer_swallows_output() {
    let console = Console::new(vec![Port::console(Box::new(Broken))]);
    let handle = console.handle();
    let mut driver = Driver::new(console);
    driver.start(BOTH);
    for _ in 0..10 {
        driver.submit(1, &[Buffer::Out(&[0; 30_000])]);
        driver.answer(1);
    }
    assert!(handle.drain(Duration::from_secs(10)));
}

/// Requests of all of RAM, thousands of times over, to a writer that swallows everything: whoever
/// wants the device to stand still, or resets it, does not wait for the end of it.
#[test]
fn endless_requests_do_not_keep_the_device() {
    let console = Console::new(vec![Port::console(Box::new(Broken))]);
    let mut driver = Driver::new(console);
    driver.start(BOTH);
    let all = |index: u16| {
        let more = if index + 1 < QUEUE_SIZE { NEXT } else { 0 };
        (0, RAM as u32, more, index + 1)
    };
    let chain: Vec<_> = (0..QUEUE_SIZE).map(all).collect();
    for _ in 0..QUEUE_SIZE {
        driver.enqueue_raw(1, &chain);
    }
    driver.notify(1);
    std::thread::sleep(Duration::from_millis(20));
    let asked = Instant::now();
    driver.function.quiesce();
    assert!(asked.elapsed() < Duration::from_secs(2));
    let _ = driver.function.save();
    driver.function.resume();
    driver.function.reset();
    assert!(asked.elapsed() < Duration::from_secs(2));
}

#[test]
fn the_newest_size_reaches_the_guest() {
    let mut setup = setup();
    setup.handle.resize(132, 43);
    let driver = &mut setup.driver;
    driver.start(BOTH);
    send_control(driver, 0xffff_ffff, 0, 1);
    send_control(driver, 0, 3, 1);
    for event in [1, 1, 4] {
        assert_eq!(take_control(driver).1, event);
    }
    setup.handle.resize(100, 30);
    setup.handle.resize(200, 60);
    setup.handle.resize(200, 60);
    let mut sizes = Vec::new();
    wait_until(|| {
        let (_, event, _, tail) = take_control(driver);
        if event == 5 {
            sizes.push(tail);
        }
        sizes.last() == Some(&vec![200, 0, 60, 0])
    });
    let device = driver.device;
    assert_eq!(driver.function_read(device, 4), 200 | 60 << 16);
    assert_eq!(driver.function_read(device + 4, 4), 2, "ports");
}

#[test]
fn without_multiport_a_new_size_is_a_configuration_change() {
    let mut setup = setup();
    setup.driver.start(F_SIZE);
    let generation = setup.driver.read(0x15, 1);
    setup.handle.resize(90, 20);
    wait_until(|| setup.driver.line.high());
    let isr = setup.driver.isr;
    assert_eq!(setup.driver.function_read(isr, 1), 2);
    assert_ne!(setup.driver.read(0x15, 1), generation);
}

#[test]
fn the_host_opens_and_closes_its_end() {
    let mut setup = setup();
    setup.handle.set_open(1, false);
    let driver = &mut setup.driver;
    driver.start(BOTH);
    send_control(driver, 1, 3, 1);
    assert_eq!(
        take_control(driver).1,
        7,
        "a closed port was announced as open"
    );
    setup.handle.set_open(1, true);
    assert_eq!(take_control(driver), (1, 6, 1, vec![]));
    setup.handle.set_open(1, true);
    setup.handle.set_open(1, false);
    assert_eq!(take_control(driver), (1, 6, 0, vec![]));
}

#[test]
fn waiting_input_and_messages_survive_a_save() {
    let mut before = setup();
    before.driver.start(BOTH);
    send_control(&mut before.driver, 1, 6, 1);
    send_control(&mut before.driver, 1, 3, 1);
    assert_eq!(before.handle.receive(1, b"half"), 4);
    before.driver.function.quiesce();
    let saved = before.driver.function.save();

    let console = Console::new(vec![
        Port::console(Box::new(io::sink())),
        Port::named("org.innkeeper.agent", Box::new(io::sink())),
    ]);
    let handle = console.handle();
    let mut after = Driver::with_memory(console, before.driver.memory.clone());
    after.function.restore(&saved).unwrap();
    assert_eq!(after.function.save(), saved);
    assert!(handle.guest_has_open(1));
    after.continue_from(before.driver);
    after.function.resume();
    assert_eq!(receive(&mut after, RECEIVE, 64), b"half");
    assert_eq!(take_control(&mut after).1, 7);

    let other = Console::new(vec![Port::console(Box::new(io::sink()))]);
    let mut other = Driver::new(other);
    assert!(other.function.restore(&saved).is_err());
}

#[test]
fn nonsense_on_the_control_queue_is_ignored_or_stops_the_device() {
    let mut setup = setup();
    let driver = &mut setup.driver;
    driver.start(BOTH);
    for (port, event, value) in [
        (99, 3, 1),
        (99, 6, 1),
        (0, 1, 1),
        (0, 77, 3),
        (u32::MAX, 6, 0),
    ] {
        send_control(driver, port, event, value);
    }
    // A guest that asks and never takes the answers.
    for _ in 0..2000 {
        send_control(driver, 0, 3, 1);
    }
    assert_eq!(driver.status() & 64, 0);
    driver.submit(CONTROL_TRANSMIT, &[Buffer::Out(b"short")]);
    wait_until(|| driver.status() & 64 != 0);
}

#[test]
fn a_console_without_ports_has_one() {
    let mut driver = Driver::new(Console::new(Vec::new()));
    assert_eq!(driver.read(0x12, 2), 4);
    let many = (0..50)
        .map(|_| Port::named("p", Box::new(io::sink())))
        .collect();
    let mut driver = Driver::new(Console::new(many));
    assert_eq!(driver.read(0x12, 2), 64);
}

#[test]
fn the_handle_outlives_the_device() {
    let setup = setup();
    let handle = setup.handle.clone();
    drop(setup.driver);
    assert_eq!(handle.receive(0, b"x"), 1);
    handle.resize(1, 1);
    assert!(handle.drain(Duration::from_secs(1)));
    let _ = Arc::new(handle);
}
