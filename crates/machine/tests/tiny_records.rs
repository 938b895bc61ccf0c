//! Machines that are recorded while they run.

#![allow(
    clippy::cast_possible_truncation,
    reason = "values are made small by the code of each guest"
)]

mod tiny_guest;

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::thread::JoinHandle;

use machine::layout::{VGA_HOLE, VGA_HOLE_END};
use machine::{Beginning, EngineChoice, Gpa, Layer, MachineControl, Outcome};
use tiny_guest::{Guest, beginning, guest_on, record_order};

/// Where the file has a counter's number, which is at 20_0000h: without the hole below 1 MiB.
const NUMBER: u64 = 0x20_0000 - (VGA_HOLE_END.0 - VGA_HOLE.0);

/// Counts for ever, saying each number at the serial port.
fn counter() -> Vec<u8> {
    [
        &[0xff, 0x05, 0x00, 0x00, 0x20, 0x00][..], // again: inc dword [200000h]
        &[0x66, 0xba, 0xf8, 0x03],                 // mov dx, 3f8h
        &[0xa0, 0x00, 0x00, 0x20, 0x00],           // mov al, [200000h]
        &[0xee],                                   // out dx, al
        &[0xeb, 0xee],                             // jmp again
    ]
    .concat()
}

/// Says the number of each interrupt of the timer, which comes some thousand times a second through
/// the older interrupt controllers, and sleeps else.
fn clock() -> Vec<u8> {
    let out = |port: u8, value: u8| [0xb0, value, 0xe6, port];
    let chips = [
        (0x20, 0x11), // the master's vectors are 20h to 27h
        (0x21, 0x20),
        (0x21, 0x04),
        (0x21, 0x01),
        (0xa0, 0x11),
        (0xa1, 0x28),
        (0xa1, 0x02),
        (0xa1, 0x01),
        (0x21, 0xfe), // the timer alone
        (0xa1, 0xff),
        (0x43, 0x34), // counts 4A9h again and again
        (0x40, 0xa9),
        (0x40, 0x04),
    ];
    let chips: Vec<u8> = chips
        .iter()
        .flat_map(|&(port, value)| out(port, value))
        .collect();
    let table = [
        &[0x66, 0xa3, 0x00, 0x01, 0x30, 0x00][..], // mov [300100h], ax
        &[0xc1, 0xe8, 0x10],                       // shr eax, 16
        &[0x66, 0xa3, 0x06, 0x01, 0x30, 0x00],     // mov [300106h], ax
        &[0x8c, 0xc8],                             // mov eax, cs
        &[0x66, 0xa3, 0x02, 0x01, 0x30, 0x00],     // mov [300102h], ax
        &[0x66, 0xc7, 0x05, 0x04, 0x01, 0x30, 0x00, 0x00, 0x8e], // mov word [300104h], 8E00h
        &[0x66, 0xc7, 0x05, 0x00, 0x08, 0x30, 0x00, 0xff, 0x07], // mov word [300800h], 7FFh
        &[0xc7, 0x05, 0x02, 0x08, 0x30, 0x00, 0x00, 0x00, 0x30, 0x00], // mov dword [300802h], 300000h
        &[0x0f, 0x01, 0x1d, 0x00, 0x08, 0x30, 0x00],                   // lidt [300800h]
        &[0xbc, 0x00, 0x00, 0x28, 0x00],                               // mov esp, 280000h
    ]
    .concat();
    let sleep = [0xfb, 0xf4, 0xeb, 0xfd]; // sti; again: hlt; jmp again
    // Goes back to sleep rather than to where it came from: KVM cannot emulate IRET where it must.
    let handler = [
        &[0x83, 0xc4, 0x0c][..],               // add esp, 12
        &[0xff, 0x05, 0x00, 0x00, 0x20, 0x00], // inc dword [200000h]
        &[0x66, 0xba, 0xf8, 0x03],             // mov dx, 3f8h
        &[0xa0, 0x00, 0x00, 0x20, 0x00],       // mov al, [200000h]
        &[0xee],                               // out dx, al
        &out(0x20, 0x20),                      // end of interrupt
        &[0xfb, 0xf4, 0xeb, 0xfd],             // sti; again: hlt; jmp again
    ]
    .concat();
    // From the POP to the handler, over it and the ADD.
    let between = 1 + 5 + table.len() + chips.len() + sleep.len();
    let add = [&[0x05][..], &(between as u32).to_le_bytes()].concat();
    let here = [0xbc, 0x00, 0x00, 0x28, 0x00, 0xe8, 0, 0, 0, 0, 0x58]; // mov esp, 280000h; call here; here: pop eax
    [&here[..], &add, &table, &chips, &sleep, &handler].concat()
}

/// A counter that runs.
struct Counter {
    control: MachineControl,
    serial: std::io::PipeReader,
    runner: JoinHandle<Outcome>,
}

impl Counter {
    fn start(engine: EngineChoice, name: &str, begins: Option<&Beginning>) -> Counter {
        Counter::of(&counter(), engine, name, begins)
    }

    fn of(code: &[u8], engine: EngineChoice, name: &str, begins: Option<&Beginning>) -> Counter {
        let Guest {
            mut machine,
            serial,
            ..
        } = guest_on(engine, name, code, 1);
        if let Some(beginning) = begins {
            machine.begin_as(beginning).expect("the same shape");
        }
        Counter {
            control: machine.control(),
            serial,
            runner: std::thread::spawn(move || machine.run().expect("a run")),
        }
    }

    fn numbers(&mut self, count: usize) -> Vec<u8> {
        let mut numbers = vec![0; count];
        self.serial.read_exact(&mut numbers).expect("numbers");
        numbers
    }

    /// What it is now, on top of what it was, and its number. It goes on.
    fn record(&self, layers: &[Layer]) -> (Beginning, u8) {
        let (order, files) = record_order(layers);
        let recorded = self.control.save(order).expect("it runs");
        self.control.resume();
        let begins = beginning(layers, recorded.expect("a saved machine"), files);
        // Of the last layer that has it: a guest that waits for room for its output does not count.
        let mut number = [0];
        let read = |layer: &Layer, number: &mut [u8]| layer.file.read_exact_at(number, NUMBER);
        let mut layers = begins.layers.iter().rev();
        let found = layers.any(|layer| read(layer, &mut number).is_ok());
        assert!(found, "no layer has the number");
        (begins, number[0])
    }

    fn end(self) {
        self.control.stop();
        // Whoever waits for room for its output is to see that nobody reads any more.
        drop(self.serial);
        assert_eq!(self.runner.join().expect("a runner"), Outcome::Stopped);
    }
}

fn follow_each_other(numbers: &[u8]) -> bool {
    numbers
        .windows(2)
        .all(|two| two[0].wrapping_add(1) == two[1])
}

fn is_recorded_twice(engine: EngineChoice) {
    let mut first = Counter::start(engine, "recorded", None);
    assert_eq!(first.numbers(3), [1, 2, 3]);
    let (once, counted) = first.record(&[]);
    let mut numbers = first.numbers(1000);
    let (twice, _) = first.record(&once.layers);
    numbers.extend(first.numbers(10_000));
    assert!(numbers[0] == 4 && follow_each_other(&numbers));
    first.end();
    // Little changes in so small a guest.
    let pages = |layer: &Layer| layer.runs.iter().map(|run| run.count).sum::<u64>();
    assert!(pages(&twice.layers[1]) < pages(&twice.layers[0]));

    for (name, begins) in [("once", &once), ("twice", &twice)] {
        let mut again = Counter::start(engine, name, Some(begins));
        let numbers = again.numbers(1000);
        assert!(follow_each_other(&numbers));
        if name == "once" {
            assert!(
                numbers[0].wrapping_sub(counted) <= 1,
                "{} {counted}",
                numbers[0]
            );
        }
        again.end();
    }
}

#[test]
fn a_guest_is_recorded_twice_while_the_interpreter_runs_it() {
    is_recorded_twice(EngineChoice::Interpreter);
}

#[test]
fn a_guest_is_recorded_twice_while_the_translator_runs_it() {
    is_recorded_twice(EngineChoice::Translator);
}

/// Every way from one engine to another that this host has.
fn ways() -> Vec<(EngineChoice, EngineChoice)> {
    let survey = machine::survey();
    let found = survey.iter().find(|found| found.name == "kvm");
    let mut engines = vec![EngineChoice::Interpreter, EngineChoice::Translator];
    match found {
        Some(found) if found.usable => engines.push(EngineChoice::Kvm),
        _ => println!("not tested with KVM, which this host has not"),
    }
    let all = engines
        .iter()
        .flat_map(|&from| engines.iter().map(move |&to| (from, to)));
    all.filter(|(from, to)| from != to).collect()
}

#[test]
fn a_guest_goes_on_with_another_engine_than_it_was_recorded_with() {
    for (from, to) in ways() {
        for code in [counter(), clock()] {
            let mut first = Counter::of(&code, from, "from", None);
            first.numbers(300);
            let (begins, counted) = first.record(&[]);
            first.end();
            let mut second = Counter::of(&code, to, "to", Some(&begins));
            let numbers = second.numbers(1000);
            assert!(
                numbers[0].wrapping_sub(counted) <= 1,
                "{from:?} {to:?} {} {counted}",
                numbers[0]
            );
            assert!(follow_each_other(&numbers), "{from:?} {to:?}");
            second.end();
        }
    }
}

#[test]
fn whoever_begins_as_a_record_is_of_another_generation() {
    let mut first = Counter::start(EngineChoice::Interpreter, "generation", None);
    first.numbers(3);
    let (begins, _) = first.record(&[]);
    first.end();
    let generation = || {
        let mut guest = guest_on(EngineChoice::Interpreter, "another", &counter(), 1);
        guest.machine.begin_as(&begins).expect("the same shape");
        // Behind the FACS, which is behind the RSDP.
        let mut number = [0; 16];
        let ram = guest.machine.memory();
        ram.read_own(Gpa(0xe_0080), &mut number).expect("RAM");
        number
    };
    let (one, other) = (generation(), generation());
    assert_ne!(one, [0; 16]);
    assert_ne!(one, other);
}

#[test]
fn who_is_paused_stays_so_and_who_has_ended_is_not_recorded() {
    let mut first = Counter::start(EngineChoice::Interpreter, "paused", None);
    first.numbers(3);
    first.control.pause();
    let (order, files) = record_order(&[]);
    let recorded = first.control.save(order).expect("it runs");
    beginning(&[], recorded.expect("a saved machine"), files);
    let control = first.control.clone();
    first.end();
    assert!(control.save(record_order(&[]).0).is_none());
}
