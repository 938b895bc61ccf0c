//! A whole machine becomes a saved one that somebody forged, and runs it.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use machine::{
    Beginning, EngineChoice, Layer, Limits, Machine, MachineConfig, Reboot, Run, SavedMachine,
    UsbConfig, read_index,
};
use rustix::fs::{MemfdFlags, memfd_create};

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
        cards: Vec::new(),
        folders: Vec::new(),
        vsock: None,
        screen: None,
        sound: None,
        parallel: None,
        tpm: None,
        rng: true,
        usb: UsbConfig::default(),
        balloon: true,
        reboot: Reboot::Exit,
        limits: Limits::default(),
        times: false,
        merges_memory: false,
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

/// A layer of memory: an index that begins as it should, or else a few runs, and pages of a few bytes each.
fn layer(input: &mut Input<'_>) -> Layer {
    let mut index = b"INNKPAGE\x01\0\0\0\0\0\0\0".to_vec();
    index[8] += input.byte() & 1;
    index.extend((0..64).map(|_| input.byte()));
    let few = |input: &mut Input<'_>| Run {
        first: input.u64() & 0x7ff,
        count: input.u64() & 0x3ff,
        zero: input.byte() & 1 != 0,
        period: input.u64() & 0x7f,
    };
    let runs = read_index(&index);
    let runs = runs.unwrap_or_else(|_| (0..input.byte() & 7).map(|_| few(input)).collect());
    let file = memfd_create("layer", MemfdFlags::CLOEXEC).expect("a file");
    let file = fs::File::from(file);
    file.set_len((input.u64() & 0x7ff) << 12).expect("room");
    for _ in 0..input.byte() & 15 {
        let at = (input.u64() & 0x7ff) << 12;
        file.write_all_at(&input.u64().to_le_bytes(), at)
            .expect("room");
    }
    Layer {
        file: Arc::new(file),
        runs,
    }
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
    let state = saved.to_bytes().expect("bytes");
    let beginning = Beginning {
        state,
        layers: (0..input.byte() & 3).map(|_| layer(&mut input)).collect(),
        ..Beginning::default()
    };
    let mut machine = machine();
    if machine.begin_as(&beginning).is_ok() {
        run(&mut machine);
        let again = machine.save().expect("a saved machine");
        again.to_bytes().expect("bytes");
    }
}
