//! What tests with guests of a few instructions share: building them, running them, watching them.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use devices::{Device, DeviceState, RestoreError, decode_state, encode_state};
use machine::{
    Beginning, Chardev, EngineChoice, FirmwareConfig, Layer, Limits, Machine, MachineConfig,
    MachineControl, MachineStats, Outcome, Reboot, RecordOrder, Recorded, ScreenConfig, UsbConfig,
    read_index,
};
use rustix::fs::{MemfdFlags, memfd_create};

pub(crate) const EXIT_PORT: u16 = 0xf4;

/// isa-debug-exit in small: what is written ends the run.
#[derive(Debug)]
struct Exit(MachineControl);

impl Device for Exit {
    fn kind(&self) -> &'static str {
        "test-exit"
    }

    fn read(&mut self, _offset: u64, _size: u8) -> u64 {
        0
    }

    fn write(&mut self, _offset: u64, _size: u8, value: u64) {
        self.0.exit(value as u32);
    }

    fn reset(&mut self) {}

    fn save(&self) -> DeviceState {
        encode_state("test-exit", 1, &())
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        decode_state("test-exit", 1, state)
    }
}

pub(crate) const LOAD: u32 = 0x10_0000;
pub(crate) const HEADER_LEN: usize = 32;

/// A flat multiboot image of this 32-bit code, which runs at `LOAD + HEADER_LEN`.
pub(crate) fn image(code: &[u8]) -> Vec<u8> {
    const MAGIC: u32 = 0x1bad_b002;
    const FLAGS: u32 = 1 << 16;
    let checksum = 0u32.wrapping_sub(MAGIC.wrapping_add(FLAGS));
    let entry = LOAD + HEADER_LEN as u32;
    let fields = [MAGIC, FLAGS, checksum, LOAD, LOAD, 0, 0, entry];
    let mut file: Vec<u8> = fields
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .collect();
    file.extend(code);
    file
}

/// A file that goes away with this value.
pub(crate) struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, content: &[u8]) -> TempFile {
        // Several tests of one program may have a guest of one name.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("innkeeper-{}-{number}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).expect("a writable directory");
        TempFile(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(crate) struct Guest {
    pub(crate) machine: Machine,
    pub(crate) serial: std::io::PipeReader,
    _kernel: TempFile,
}

pub(crate) fn guest(name: &str, code: &[u8], vcpus: u32) -> Guest {
    guest_on(EngineChoice::Interpreter, name, code, vcpus)
}

pub(crate) fn guest_on(engine: EngineChoice, name: &str, code: &[u8], vcpus: u32) -> Guest {
    let built = Built {
        engine,
        vcpus,
        ..Built::default()
    };
    built.guest(name, code)
}

/// What differs between guests.
pub(crate) struct Built {
    pub(crate) engine: EngineChoice,
    pub(crate) vcpus: u32,
    pub(crate) reboot: Reboot,
    pub(crate) limits: Limits,
    pub(crate) times: bool,
    pub(crate) input: Option<OwnedFd>,
    pub(crate) firmware: Option<FirmwareConfig>,
    pub(crate) screen: Option<ScreenConfig>,
}

impl Default for Built {
    fn default() -> Built {
        Built {
            engine: EngineChoice::Interpreter,
            vcpus: 1,
            reboot: Reboot::Exit,
            limits: Limits::default(),
            times: false,
            input: None,
            firmware: None,
            screen: None,
        }
    }
}

impl Built {
    pub(crate) fn guest(self, name: &str, code: &[u8]) -> Guest {
        let kernel = TempFile::new(name, &image(code));
        let (serial, writer) = std::io::pipe().expect("a pipe");
        let output = Chardev {
            input: self.input,
            output: Some(OwnedFd::from(writer)),
        };
        let config = MachineConfig {
            merges_memory: false,
            vcpus: self.vcpus,
            memory: 4 << 20,
            max_memory: 0,
            max_vcpus: 0,
            engine: self.engine,
            cpu_model: x86::cpuid::DEFAULT_MODEL.to_owned(),
            kernel: kernel.0.clone(),
            firmware: self.firmware,
            initrd: Vec::new(),
            command_line: String::new(),
            disks: Vec::new(),
            serial: [Some(output), None],
            console: None,
            network: None,
            cards: Vec::new(),
            folders: Vec::new(),
            vsock: None,
            screen: self.screen,
            sound: None,
            parallel: None,
            tpm: None,
            rng: false,
            usb: UsbConfig::default(),
            balloon: false,
            reboot: self.reboot,
            limits: self.limits,
            times: self.times,
        };
        let mut machine = Machine::new(config).expect("a machine");
        let exit = Box::new(Exit(machine.control()));
        let attached = machine.attach_port_device(EXIT_PORT, 4, exit);
        attached.expect("a free port");
        Guest {
            machine,
            serial,
            _kernel: kernel,
        }
    }
}

impl Guest {
    /// What it is, between two runs.
    pub(crate) fn beginning(&mut self) -> Beginning {
        let state = self.machine.save().expect("a saved machine").to_bytes();
        let (order, files) = record_order(&[]);
        let memory = self.machine.memory();
        let recording = memory.record(&[], &order.pages, &order.index);
        let recorded = Recorded {
            state: state.expect("bytes"),
            recording: recording.expect("a record"),
        };
        beginning(&[], recorded, files)
    }

    pub(crate) fn run(&mut self) -> Outcome {
        // A guest that hangs must not hang the test.
        let control = self.machine.control();
        let (done, stop) = std::sync::mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            if stop.recv_timeout(Duration::from_secs(20)).is_err() {
                control.stop();
            }
        });
        let outcome = self.machine.run().expect("a run");
        // The watchdog may have gone already, and then hears nothing.
        let _ = done.send(());
        watchdog.join().expect("the watchdog");
        outcome
    }

    pub(crate) fn output(mut self) -> String {
        drop(self.machine);
        let mut text = String::new();
        self.serial.read_to_string(&mut text).expect("text");
        text
    }
}

/// `mov dx, 3f8h; mov al, byte; out dx, al`
pub(crate) fn print(text: &str) -> Vec<u8> {
    let one = |byte| [0x66, 0xba, 0xf8, 0x03, 0xb0, byte, 0xee];
    text.bytes().flat_map(one).collect()
}

/// `mov eax, code; out 0f4h, eax`
pub(crate) fn exit(code: u8) -> Vec<u8> {
    vec![0xb8, code, 0, 0, 0, 0xe7, EXIT_PORT as u8]
}

/// What `control` answers once `found` says that it is enough, which a guest comes to by itself.
pub(crate) fn stats_until(
    control: &MachineControl,
    found: impl Fn(&MachineStats) -> bool,
) -> MachineStats {
    let begun = Instant::now();
    loop {
        match control.stats() {
            Some(stats) if found(&stats) => return stats,
            _ => assert!(begun.elapsed() < Duration::from_secs(20), "never enough"),
        }
        std::thread::yield_now();
    }
}

/// How often the first processor left its engine for that.
pub(crate) fn exits(stats: &MachineStats, kind: &str) -> u64 {
    let mut exits = stats.vcpus[0].exits.iter();
    exits.find(|exit| exit.0 == kind).map_or(0, |exit| exit.1)
}

/// Stops the guest once `found` says that it has come so far.
pub(crate) fn stop_when(
    control: MachineControl,
    found: impl Fn(&MachineStats) -> bool + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        stats_until(&control, found);
        control.stop();
    })
}

/// A file without a name.
pub(crate) fn unnamed() -> File {
    File::from(memfd_create("record", MemfdFlags::CLOEXEC).expect("a file"))
}

/// An order for new files, and duplicates of them: pages and index.
pub(crate) fn record_order(layers: &[Layer]) -> (RecordOrder, (File, File)) {
    let (pages, index) = (unnamed(), unnamed());
    let again = |file: &File| file.try_clone().expect("a duplicate");
    let files = (again(&pages), again(&index));
    let order = RecordOrder {
        code: None,
        complete: false,
        layers: layers.to_vec(),
        pages,
        index,
        overlays: Vec::new(),
    };
    (order, files)
}

/// What begins as the record does, once that is written.
pub(crate) fn beginning(
    layers: &[Layer],
    recorded: Recorded,
    (pages, mut index): (File, File),
) -> Beginning {
    recorded.recording.finish().expect("a written record");
    let mut bytes = Vec::new();
    index.rewind().expect("a file");
    index.read_to_end(&mut bytes).expect("a file");
    let layer = Layer {
        file: Arc::new(pages),
        runs: read_index(&bytes).expect("an index"),
    };
    Beginning {
        state: recorded.state,
        layers: [layers, &[layer]].concat(),
        ..Beginning::default()
    }
}
