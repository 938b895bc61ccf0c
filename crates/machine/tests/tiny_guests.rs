//! Guests of a few instructions, assembled by hand, booted by multiboot.

#![allow(
    clippy::cast_possible_truncation,
    reason = "values are made small by the code of each guest"
)]

mod tiny_guest;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use devices::{Device, DeviceState, RestoreError, decode_state, encode_state};
use machine::{EngineChoice, Outcome, Reboot};
use tiny_guest::{Built, EXIT_PORT, Guest, exit, exits, guest, guest_on, print, stop_when};

#[test]
fn a_guest_prints_and_ends_with_its_value() {
    let code = [print("hello"), exit(42)].concat();
    let mut guest = guest("hello", &code, 1);
    assert_eq!(guest.run(), Outcome::DeviceExit(42));
    assert_eq!(guest.output(), "hello");
}

#[test]
fn a_port_without_a_device_reads_all_ones() {
    // in al, 80h; mov edx, 3f8h; out dx, al: prints 0xff; mov eax from al; out 0f4h, eax
    let code = [0x31, 0xc0, 0xe4, 0x80, 0xe7, EXIT_PORT as u8];
    let mut guest = guest("nothing", &code, 1);
    assert_eq!(guest.run(), Outcome::DeviceExit(0xff));
}

/// A device with a bug.
#[derive(Debug)]
struct Broken;

impl Device for Broken {
    fn kind(&self) -> &'static str {
        "test-broken"
    }

    fn read(&mut self, _offset: u64, _size: u8) -> u64 {
        panic!("a bug")
    }

    fn write(&mut self, _offset: u64, _size: u8, _value: u64) {}

    fn reset(&mut self) {}

    fn save(&self) -> DeviceState {
        encode_state("test-broken", 1, &())
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        decode_state("test-broken", 1, state)
    }
}

#[test]
fn a_bug_of_ours_ends_the_run_and_no_more() {
    // in al, 80h; jmp to it, on two processors' machine
    let mut guest = guest("bug", &[0xe4, 0x80, 0xeb, 0xfc], 2);
    let attached = guest.machine.attach_port_device(0x80, 1, Box::new(Broken));
    attached.expect("a free port");
    assert!(matches!(guest.run(), Outcome::EngineFailed(_)));
    guest.machine.save().expect("a saved machine");
}

#[test]
fn a_triple_fault_ends_the_run() {
    // lidt [zero limit]; ud2
    let code = [
        0x0f, 0x01, 0x1d, 0x29, 0x00, 0x10, 0x00, // lidt [100029h]
        0x0f, 0x0b, // ud2
        0, 0, 0, 0, 0, 0,
    ];
    let mut guest = guest("triple", &code, 1);
    assert_eq!(guest.run(), Outcome::TripleFault);
}

#[test]
fn a_halted_guest_can_be_stopped_and_continued() {
    // cli; hlt
    let mut guest = guest("halt", &[0xfa, 0xf4], 1);
    for _ in 0..2 {
        let control = guest.machine.control();
        let stopper = stop_when(control, |stats| exits(stats, "halt") > 0);
        assert_eq!(guest.run(), Outcome::Stopped);
        stopper.join().expect("the stopper");
    }
}

#[test]
fn a_second_run_powers_the_machine_on_again() {
    let code = [print("x"), exit(1)].concat();
    let mut guest = guest("again", &code, 1);
    assert_eq!(guest.run(), Outcome::DeviceExit(1));
    assert_eq!(guest.run(), Outcome::DeviceExit(1));
    assert_eq!(guest.output(), "xx");
}

#[test]
fn cpuid_tells_whether_the_apic_is_on() {
    let code: [&[u8]; 8] = [
        &[0xb8, 1, 0, 0, 0, 0x0f, 0xa2, 0x89, 0xd6], // mov eax, 1; cpuid; mov esi, edx
        &[0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32],          // mov ecx, 1bh; rdmsr
        &[0x80, 0xe4, 0xf7, 0x0f, 0x30],             // and ah, 0f7h; wrmsr
        &[0xb8, 1, 0, 0, 0, 0x0f, 0xa2],             // mov eax, 1; cpuid
        &[0xc1, 0xee, 9, 0x83, 0xe6, 1],             // shr esi, 9; and esi, 1
        &[0xc1, 0xea, 9, 0x83, 0xe2, 1],             // shr edx, 9; and edx, 1
        &[0x8d, 0x04, 0x72],                         // lea eax, [edx + 2 * esi]
        &[0xe7, EXIT_PORT as u8],                    // out 0f4h, eax
    ];
    let code = code.concat();
    let mut guest = guest("apic", &code, 1);
    assert_eq!(guest.run(), Outcome::DeviceExit(2));
    assert_eq!(guest.run(), Outcome::DeviceExit(2), "power-on turns it on");
}

/// Prints the alphabet, with some hundred thousand instructions before each letter; exits with 5.
fn slow_alphabet() -> Vec<u8> {
    let mut code = vec![
        0xb3,
        b'a', // mov bl, 'a'
        0x66,
        0xba,
        0xf8,
        0x03, // mov dx, 3f8h
        0xb9,
        0x00,
        0x00,
        0x01,
        0x00, // next: mov ecx, 10000h
        0xe2,
        0xfe, // wait: loop wait
        0x88,
        0xd8, // mov al, bl
        0xee, // out dx, al
        0xfe,
        0xc3, // inc bl
        0x80,
        0xfb,
        b'z' + 1, // cmp bl, 'z' + 1
        0x75,
        0xef, // jne next
    ];
    code.extend(exit(5));
    code
}

#[test]
fn a_guest_saved_in_the_middle_ends_as_it_would_have() {
    let mut first = guest("saved", &slow_alphabet(), 1);
    let control = first.machine.control();
    let mut serial = first.serial.try_clone().expect("a second reader");
    let stopper = std::thread::spawn(move || {
        let mut letter = [0];
        serial.read_exact(&mut letter).expect("a letter");
        control.stop();
        char::from(letter[0])
    });
    let outcome = first.run();
    let begun = stopper.join().expect("the stopper");
    assert_eq!(outcome, Outcome::Stopped, "the guest was too fast");
    let beginning = first.beginning();

    let mut second = guest("restored", &slow_alphabet(), 1);
    let begun_as = second.machine.begin_as(&beginning);
    begun_as.expect("the same shape");
    assert_eq!(second.run(), Outcome::DeviceExit(5));
    let text = String::from(begun) + &first.output() + &second.output();
    assert_eq!(text, "abcdefghijklmnopqrstuvwxyz");
}

#[test]
fn a_saved_machine_of_another_shape_is_refused() {
    let mut one = guest("one", &exit(0), 1);
    let mut two = guest("two", &exit(0), 2);
    let error = two.machine.begin_as(&one.beginning());
    let error = error.expect_err("another shape");
    assert!(error.to_string().contains("processors"), "{error}");
}

/// Starts two more processors and waits for both; exits with 7.
fn smp() -> Vec<u8> {
    // Real-mode code at 8000h, which counts itself and halts: lock inc byte [8100h]; hlt
    [
        &[0xc7, 0x05, 0x00, 0x80, 0, 0, 0xf0, 0xfe, 0x06, 0x00][..], // mov [8000h], …
        &[0x66, 0xc7, 0x05, 0x04, 0x80, 0, 0, 0x81, 0xf4],           // mov [8004h], …
        &[0xc7, 0x05, 0xf0, 0, 0xe0, 0xfe, 0xff, 0x01, 0, 0],        // APIC on
        &[0xc7, 0x05, 0, 0x03, 0xe0, 0xfe, 0, 0x45, 0x0c, 0],        // INIT to all others
        &[0xc7, 0x05, 0, 0x03, 0xe0, 0xfe, 0x08, 0x46, 0x0c, 0],     // start-up at 8000h
        &[0x80, 0x3d, 0x00, 0x81, 0, 0, 2],                          // wait: cmp byte [8100h], 2
        &[0x75, 0xf7],                                               // jne wait
        &exit(7),
    ]
    .concat()
}

#[test]
fn other_processors_start_where_they_are_told() {
    let mut guest = guest("smp", &smp(), 3);
    assert_eq!(guest.run(), Outcome::DeviceExit(7));
}

#[test]
fn a_reset_starts_the_machine_again_and_keeps_its_cmos() {
    let mut code = vec![
        0xb0, 0x40, 0xe6, 0x70, // CMOS byte 40h
        0xe4, 0x71, // in al, 71h
        0x84, 0xc0, // test al, al
        0x75, 0x00, // jnz second
    ];
    let first = [
        &[0xb0, 0x01, 0xe6, 0x71][..], // mov al, 1; out 71h, al
        &print("r"),
        &[0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee], // reset by port cf9h
        &[0xeb, 0xfe],                               // jmp $
    ]
    .concat();
    code[9] = first.len() as u8;
    code.extend(first);
    code.extend(print("s"));
    code.extend(exit(9));
    let built = Built {
        reboot: Reboot::Restart,
        ..Built::default()
    };
    let mut guest = built.guest("reset", &code);
    assert_eq!(guest.run(), Outcome::DeviceExit(9));
    assert_eq!(guest.output(), "rs");
    let mut guest = guest_on(EngineChoice::Interpreter, "reset-exit", &code, 1);
    assert_eq!(guest.run(), Outcome::Reset);
}

/// Enables these PM1 events and suspends to RAM. After it the byte at 2000h, set before, is the exit
/// value, written by real-mode code at 1000h, which is where the guest wakes if `vector` says so.
fn sleeper(events: u16, vector: u16) -> Vec<u8> {
    let [events_low, events_high] = events.to_le_bytes();
    let [vector_low, vector_high] = vector.to_le_bytes();
    [
        // mov al, [2000h]; out 0f4h, al; hlt; jmp short -3
        &[0xc7, 0x05, 0x00, 0x10, 0, 0, 0xa0, 0x00, 0x20, 0xe6][..],
        &[
            0xc7,
            0x05,
            0x04,
            0x10,
            0,
            0,
            EXIT_PORT as u8,
            0xf4,
            0xeb,
            0xfd,
        ],
        &[0xc6, 0x05, 0x00, 0x20, 0, 0, 11], // mov byte [2000h], 11
        // The FACS is the first table after the RSDP.
        &[
            0xc7,
            0x05,
            0x4c,
            0x00,
            0x0e,
            0,
            vector_low,
            vector_high,
            0,
            0,
        ],
        &[0x66, 0xb8, events_low, events_high], // mov ax, events
        &[0x66, 0xba, 0x02, 0x06, 0x66, 0xef],  // mov dx, 602h; out dx, ax
        &[0x66, 0xb8, 0x00, 0x24],              // mov ax, 2400h
        &[0x66, 0xba, 0x04, 0x06, 0x66, 0xef],  // mov dx, 604h; out dx, ax
        &[0xeb, 0xfe],                          // jmp $
    ]
    .concat()
}

/// Lets the RTC raise its alarm every second.
const ALARM: [u8; 32] = [
    0xb0, 0x01, 0xe6, 0x70, 0xb0, 0xc0, 0xe6, 0x71, // seconds: any
    0xb0, 0x03, 0xe6, 0x70, 0xb0, 0xc0, 0xe6, 0x71, // minutes: any
    0xb0, 0x05, 0xe6, 0x70, 0xb0, 0xc0, 0xe6, 0x71, // hours: any
    0xb0, 0x0b, 0xe6, 0x70, 0xb0, 0x22, 0xe6, 0x71, // alarm interrupt, 24 hours
];
const RTC_EVENT: u16 = 1 << 10;
const POWER_BUTTON_EVENT: u16 = 1 << 8;

#[test]
fn the_alarm_wakes_a_guest_that_suspended_to_ram() {
    let code = [&ALARM[..], &sleeper(RTC_EVENT, 0x1000)].concat();
    for vcpus in [1, 2] {
        let mut guest = guest("s3", &code, vcpus);
        assert_eq!(guest.run(), Outcome::DeviceExit(11));
    }
}

#[test]
fn a_guest_that_says_not_where_to_wake_is_powered_on() {
    let mut code = vec![0xb0, 0x40, 0xe6, 0x70, 0xe4, 0x71]; // CMOS byte 40h: in al, 71h
    let again = exit(9);
    code.extend([0x84, 0xc0, 0x74, again.len() as u8]); // test al, al; jz first
    code.extend(again);
    code.extend([0xb0, 0x01, 0xe6, 0x71]); // mov al, 1; out 71h, al
    code.extend(ALARM);
    code.extend(sleeper(RTC_EVENT, 0));
    let mut guest = guest("s3-nowhere", &code, 1);
    assert_eq!(guest.run(), Outcome::DeviceExit(9));
}

#[test]
fn a_sleeper_is_stopped_saved_and_woken_elsewhere_by_the_power_button() {
    let code = sleeper(POWER_BUTTON_EVENT, 0x1000);
    let mut first = guest("s3-saved", &code, 1);
    let control = first.machine.control();
    let stopper = stop_when(control, |stats| exits(stats, "port write") > 0);
    assert_eq!(first.run(), Outcome::Stopped);
    stopper.join().expect("the stopper");
    let beginning = first.beginning();

    let mut second = guest("s3-restored", &code, 1);
    let begun_as = second.machine.begin_as(&beginning);
    begun_as.expect("the same shape");
    // A press is kept until it is wanted, so it does not matter whether the guest slept already.
    second.machine.control().power_button();
    assert_eq!(second.run(), Outcome::DeviceExit(11));
}

/// Sends back what comes in at the first serial port, and ends after a full stop.
fn echo() -> Vec<u8> {
    [
        &[0x66, 0xba, 0xfd, 0x03][..], // next: mov dx, 3fdh
        &[0xec, 0xa8, 0x01],           // wait: in al, dx; test al, 1
        &[0x74, 0xfb],                 // jz wait
        &[0x66, 0xba, 0xf8, 0x03],     // mov dx, 3f8h
        &[0xec, 0xee],                 // in al, dx; out dx, al
        &[0x3c, b'.'],                 // cmp al, '.'
        &[0x75, 0xed],                 // jne next
        &exit(3),
    ]
    .concat()
}

/// That guest, and the other end of its input.
fn echoing(name: &str) -> (Guest, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let built = Built {
        input: Some(OwnedFd::from(reader)),
        ..Built::default()
    };
    (built.guest(name, &echo()), writer)
}

#[test]
fn a_paused_guest_goes_on() {
    let (mut guest, mut writer) = echoing("paused");
    let control = guest.machine.control();
    // It waits at its beginning until the other thread is there.
    control.pause();
    let mut screen = guest.serial.try_clone().expect("another descriptor");
    let pauser = std::thread::spawn(move || {
        for letter in b"abcde" {
            writer.write_all(&[*letter]).expect("room in the pipe");
            control.resume();
            let mut answer = [0];
            screen.read_exact(&mut answer).expect("an answer");
            assert_eq!(answer, [*letter]);
            control.pause();
        }
        writer.write_all(b".").expect("room in the pipe");
        control.resume();
    });
    assert_eq!(guest.run(), Outcome::DeviceExit(3));
    pauser.join().expect("the pauser");
    assert_eq!(guest.output(), ".");
}

#[test]
fn input_reaches_the_guest_in_order_however_much_it_is() {
    let (mut guest, mut writer) = echoing("echo");
    let text: String = (0..200).map(|n| format!("{n},")).collect::<String>() + ".";
    writer.write_all(text.as_bytes()).expect("room in the pipe");
    assert_eq!(guest.run(), Outcome::DeviceExit(3));
    assert_eq!(guest.output(), text);
}

#[test]
fn the_same_guest_runs_on_kvm_where_there_is_one() {
    if machine::survey()
        .iter()
        .any(|found| found.name == "kvm" && !found.usable)
    {
        return;
    }
    let code = [print("kvm"), exit(42)].concat();
    let mut guest = guest_on(EngineChoice::Kvm, "kvm", &code, 2);
    assert_eq!(guest.run(), Outcome::DeviceExit(42));
    assert_eq!(guest.run(), Outcome::DeviceExit(42));
    assert_eq!(guest.output(), "kvmkvm");
    let mut guest = guest_on(EngineChoice::Kvm, "kvm-smp", &smp(), 3);
    assert_eq!(guest.run(), Outcome::DeviceExit(7));
}
