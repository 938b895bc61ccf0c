//! Devices that come and go while a guest runs.

#![allow(
    clippy::cast_possible_truncation,
    reason = "values are made small by the code of each guest"
)]

mod tiny_guest;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use machine::{
    DiskBus, DiskConfig, DiskFormat, DiskTrust, EngineChoice, MachineControl, MachineError,
    Outcome, Overlay, Plug, PluggedReport,
};
use tiny_guest::{Guest, exit, guest_on, print, unnamed};

const COMES: u8 = 0x70;
const GOES: u8 = 0x74;
const EJECT: u8 = 0x78;
/// Where the first that is plugged in is: the highest.
const SLOT: u8 = 31;

/// `mov dx, 6xxh; again: in eax, dx; test eax, eax; jz again; out dx, eax`: what is told is seen.
fn wait_for(register: u8) -> Vec<u8> {
    let select = [0x66, 0xba, register, 0x06];
    [&select[..], &[0xed, 0x85, 0xc0, 0x74, 0xfb, 0xef]].concat()
}

/// Says `c` when something has come and `g` when something shall go, lets go of it, and what the slot
/// then has for a vendor: `-` for none.
fn plugged_guest() -> Vec<u8> {
    [
        wait_for(COMES),
        print("c"),
        wait_for(GOES),
        print("g"),
        vec![0xb8, 0, 0, 0, 0x80],           // mov eax, bit 31
        vec![0x66, 0xba, EJECT, 0x06, 0xef], // mov dx, 678h; out dx, eax
        vec![0xb8, 0, SLOT << 3, 0, 0x80],   // mov eax, address of the slot's function
        vec![0x66, 0xba, 0xf8, 0x0c, 0xef],  // mov dx, 0cf8h; out dx, eax
        vec![0x66, 0xba, 0xfc, 0x0c, 0xed],  // mov dx, 0cfch; in eax, dx
        vec![0x83, 0xf8, 0xff, 0x75, 7],     // cmp eax, -1; jne past the next
        print("-"),
        exit(1),
    ]
    .concat()
}

fn disk(id: &str) -> Plug {
    let file = unnamed();
    file.set_len(1 << 20).expect("room");
    let path = PathBuf::from(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&file)
    ));
    let opened = block::open(&block::DiskOptions {
        path: path.clone(),
        format: DiskFormat::Raw,
        ..block::DiskOptions::default()
    });
    Plug::Disk(Box::new(DiskConfig {
        traffic: std::sync::Arc::default(),
        path,
        format: DiskFormat::Raw,
        read_only: false,
        overlay: Overlay::None,
        layers: Vec::new(),
        trust: DiskTrust::Beside,
        opened: Some(opened.expect("a disk")),
        serial: id.to_owned(),
        bus: DiskBus::Virtio,
        id: id.to_owned(),
        slot: None,
        gone: false,
    }))
}

/// Plugs in as soon as the machine runs.
fn plug(control: &MachineControl, id: &str) -> Result<u8, MachineError> {
    let begun = Instant::now();
    loop {
        if let Some(done) = control.plug(disk(id)) {
            return done;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it never runs");
        std::thread::yield_now();
    }
}

fn comes_and_goes(engine: EngineChoice) {
    let name = format!("plugged-{engine:?}");
    let mut guest = guest_on(engine, &name, &plugged_guest(), 1);
    let control = guest.machine.control();
    let outside = std::thread::spawn(move || {
        assert_eq!(plug(&control, "data").expect("a slot"), SLOT);
        let report = |leaving| PluggedReport {
            id: "data".to_owned(),
            slot: SLOT,
            leaving,
        };
        assert_eq!(control.plugged(), [report(false)]);
        assert!(matches!(
            plug(&control, "data"),
            Err(MachineError::IdTaken { .. })
        ));
        let unknown = control.ask_out("other").expect("a machine that runs");
        assert!(matches!(unknown, Err(MachineError::NotPlugged { .. })));
        control
            .ask_out("data")
            .expect("a machine that runs")
            .expect("a guest that is told");
        control
    });
    assert_eq!(guest.run(), Outcome::DeviceExit(1));
    let control = outside.join().expect("no panic");
    assert_eq!(control.plugged(), []);
    assert!(control.plug(disk("late")).is_none(), "it does not run");
    assert_eq!(guest.output(), "cg-");
}

#[test]
fn a_disk_comes_and_goes_under_the_interpreter() {
    comes_and_goes(EngineChoice::Interpreter);
}

#[test]
fn a_disk_comes_and_goes_under_the_translator() {
    comes_and_goes(EngineChoice::Translator);
}

/// `jmp itself`
const FOR_EVER: [u8; 2] = [0xeb, 0xfe];

fn endless(name: &str) -> Guest {
    guest_on(EngineChoice::Interpreter, name, &FOR_EVER, 1)
}

/// A guest that never looks, stopped once `outside` has done what it does.
fn while_running(guest: &mut Guest, outside: impl FnOnce(&MachineControl) + Send + 'static) {
    let control = guest.machine.control();
    let thread = std::thread::spawn(move || {
        outside(&control);
        control.stop();
    });
    assert_eq!(guest.run(), Outcome::Stopped);
    thread.join().expect("no panic");
}

#[test]
fn what_was_asked_to_go_goes_with_a_reset() {
    let mut guest = endless("asked");
    while_running(&mut guest, |control| {
        for (id, slot) in [("one", SLOT), ("two", SLOT - 1)] {
            assert_eq!(plug(control, id).expect("a slot"), slot);
        }
        let asked = control.ask_out("one").expect("a machine that runs");
        asked.expect("a guest that is told");
        assert!(control.plugged()[0].leaving);
        control.reset();
        let begun = Instant::now();
        while control.plugged().len() > 1 {
            assert!(begun.elapsed() < Duration::from_secs(20), "it stays");
            std::thread::yield_now();
        }
        assert_eq!(control.plugged()[0].id, "two");
        // Its place is free again.
        assert_eq!(plug(control, "three").expect("a slot"), SLOT);
    });
}

#[test]
fn there_are_as_many_as_slots() {
    let mut guest = endless("full");
    while_running(&mut guest, |control| {
        for number in 1..=SLOT {
            plug(control, &format!("disk{number}")).expect("a slot");
        }
        let refused = plug(control, "more");
        assert!(matches!(refused, Err(MachineError::NoSlot { most: 32 })));
    });
}

#[test]
fn a_saved_machine_needs_what_it_has_and_lacks_what_it_lacked() {
    let mut guest = endless("saved");
    let empty = guest.beginning();
    while_running(&mut guest, |control| {
        plug(control, "data").expect("a slot");
    });
    let with_disk = guest.machine.save().expect("a saved machine");
    let mut other = endless("restored");
    let refused = other.machine.restore(&with_disk);
    assert!(matches!(refused, Err(MachineError::Device { .. })));
    // It has a disk that the saved one did not have.
    let bytes = machine::SavedMachine::from_bytes(&empty.state).expect("a saved machine");
    guest.machine.restore(&bytes).expect("the same shape");
    assert_eq!(guest.machine.control().plugged(), []);
    let again = guest.machine.save().expect("a saved machine");
    other.machine.restore(&again).expect("the same shape");
}

#[test]
fn a_machine_that_was_saved_before_there_was_hot_plug_goes_on_without() {
    let mut guest = endless("older");
    let older = guest.machine.save().expect("a saved machine");
    guest
        .machine
        .restore(&older.before_hot_plug())
        .expect("the same shape");
    while_running(&mut guest, |control| {
        let refused = plug(control, "data");
        assert!(matches!(refused, Err(MachineError::NoHotPlug)));
    });
}
