//! A whole machine becomes a saved one that somebody forged, and runs it.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use machine::{EngineChoice, Limits, Machine, MachineConfig, Reboot, SavedMachine, restore_memory};

use crate::devices::forge;
use crate::{Input, strict};

const RUN: Duration = Duration::from_millis(2);

/// A multiboot kernel that halts, in a file for as long as the process lives.
fn kernel() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        const MAGIC: u32 = 0x1bad_b002;
        const FLAGS: u32 = 1 << 16;
        const LOAD: u32 = 0x10_0000;
        let sum = 0u32.wrapping_sub(MAGIC + FLAGS);
        let fields = [MAGIC, FLAGS, sum, LOAD, LOAD, 0, 0, LOAD + 32];
        let mut file: Vec<u8> = fields
            .iter()
            .flat_map(|field| field.to_le_bytes())
            .collect();
        // sti; hlt; jmp to hlt
        file.extend([0xfb, 0xf4, 0xeb, 0xfd]);
        let name = format!("innkeeper-fuzz-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, file).expect("a writable directory");
        path
    };
    PATH.get_or_init(make).clone()
}

fn machine() -> Machine {
    let config = MachineConfig {
        vcpus: 2,
        memory: 4 << 20,
        max_memory: 0,
        max_vcpus: 0,
        engine: EngineChoice::Interpreter,
        cpu_model: x86::cpuid::DEFAULT_MODEL.to_owned(),
        kernel: kernel(),
        firmware: None,
        initrd: Vec::new(),
        command_line: String::new(),
        disks: Vec::new(),
        serial: [None, None],
        console: Some(machine::ConsoleConfig {
            console: None,
            ports: Vec::new(),
        }),
        network: None,
        folders: Vec::new(),
        vsock: None,
        screen: None,
        rng: true,
        balloon: true,
        reboot: Reboot::Exit,
        limits: Limits::default(),
        times: false,
    };
    Machine::new(config).expect("a machine")
}

fn run(machine: &mut Machine) {
    let control = machine.control();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(RUN);
        control.stop();
    });
    // What a forged machine cannot do is an error in words.
    let _ = machine.run();
    stopper.join().expect("the stopper");
}

/// The bytes of a machine that has run for a moment.
fn saved() -> &'static [u8] {
    static SAVED: OnceLock<Vec<u8>> = OnceLock::new();
    SAVED.get_or_init(|| {
        let mut machine = machine();
        run(&mut machine);
        let saved = machine.save().expect("a saved machine");
        saved.to_bytes().expect("bytes")
    })
}

pub(crate) fn restore(bytes: &[u8]) {
    strict();
    let mut input = Input::new(bytes);
    let mut forged = saved().to_vec();
    // The magic and the version stay.
    let mut body = forged.split_off(6);
    let rounds = input.byte() & 3;
    for _ in 0..=rounds {
        forge(&mut body, &mut input);
    }
    forged.extend(body);
    let Ok(saved) = SavedMachine::from_bytes(&forged) else {
        return;
    };
    let mut machine = machine();
    let _ = restore_memory(machine.memory(), &mut input.rest());
    if machine.restore(&saved).is_ok() {
        run(&mut machine);
        let again = machine.save().expect("a saved machine");
        again.to_bytes().expect("bytes");
    }
}
