//! Boots a kernel with the terminal as its serial port: the machine without Python.
//!
//! `cargo run --profile guest --example boot -- --kernel K|--firmware FILE [--initrd I]… [--append TEXT]
//! [--memory MIB] [--cpus N] [--disk FILE]… [--engine auto|kvm|interpreter|translator|lockstep] [--stats]
//! [--seconds N]`, after which the guest is stopped and its registers shown.
//! Ends with 0 for power-off, the device's value for a device exit, and 2 when it cannot start.

use std::error::Error;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use machine::{
    Chardev, DiskBus, DiskConfig, DiskFormat, DiskTrust, EngineChoice, FirmwareConfig, Limits,
    Machine, MachineConfig, Outcome, Overlay, Reboot, UsbConfig, VariablesConfig,
};

const USAGE: &str = "--kernel or --firmware is needed; options: --initrd --append --memory --cpus --disk --engine \
                     --stats --seconds";

struct Options {
    config: MachineConfig,
    stats: bool,
    seconds: Option<u64>,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
    let serial = Chardev {
        input: Some(std::io::stdin().as_fd().try_clone_to_owned()?),
        output: Some(std::io::stdout().as_fd().try_clone_to_owned()?),
    };
    let mut config = MachineConfig {
        vcpus: 1,
        memory: 512 << 20,
        max_memory: 0,
        max_vcpus: 0,
        engine: EngineChoice::Interpreter,
        cpu_model: x86::cpuid::DEFAULT_MODEL.to_owned(),
        kernel: String::new().into(),
        firmware: None,
        initrd: Vec::new(),
        command_line: "console=ttyS0".to_owned(),
        disks: Vec::new(),
        serial: [Some(serial), None],
        console: None,
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
    let (mut stats, mut seconds) = (false, None);
    while let Some(option) = words.next() {
        if option == "--stats" {
            stats = true;
            config.times = true;
            continue;
        }
        let value = words.next().ok_or(USAGE)?;
        match option.as_str() {
            "--kernel" => config.kernel = value.into(),
            "--firmware" => config.firmware = Some(firmware(value)?),
            "--initrd" => config.initrd.push(value.into()),
            "--append" => config.command_line = value,
            "--memory" => config.memory = value.parse::<u64>()? << 20,
            "--cpus" => config.vcpus = value.parse()?,
            "--cdrom" => {
                let firmware = config.firmware.as_mut().ok_or(USAGE)?;
                firmware.cd = Some(Some(value.into()));
            }
            "--floppy" => {
                let firmware = config.firmware.as_mut().ok_or(USAGE)?;
                firmware.floppy = Some(value.into());
            }
            "--variables" => {
                let firmware = config.firmware.as_mut().ok_or(USAGE)?;
                let template = value.into();
                firmware.variables = Some(VariablesConfig {
                    template,
                    store: None,
                });
            }
            "--disk" => config.disks.push(disk(value)),
            "--seconds" => seconds = Some(value.parse()?),
            "--engine" => {
                config.engine = match value.as_str() {
                    "auto" => EngineChoice::Auto,
                    "kvm" => EngineChoice::Kvm,
                    "interpreter" => EngineChoice::Interpreter,
                    "translator" => EngineChoice::Translator,
                    "lockstep" => EngineChoice::Lockstep,
                    _ => return Err(USAGE.into()),
                }
            }
            _ => return Err(USAGE.into()),
        }
    }
    if config.kernel.as_os_str().is_empty() && config.firmware.is_none() {
        return Err(USAGE.into());
    }
    Ok(Options {
        config,
        stats,
        seconds,
    })
}

/// What it says goes to standard error.
fn firmware(path: String) -> std::io::Result<FirmwareConfig> {
    Ok(FirmwareConfig {
        image: path.into(),
        log: Some(std::io::stderr().as_fd().try_clone_to_owned()?),
        serial_console: true,
        ..FirmwareConfig::default()
    })
}

fn disk(path: String) -> DiskConfig {
    DiskConfig {
        traffic: std::sync::Arc::default(),
        layers: Vec::new(),
        path: path.into(),
        format: DiskFormat::Probe,
        read_only: false,
        overlay: Overlay::Temporary,
        trust: DiskTrust::Beside,
        opened: None,
        serial: String::new(),
        bus: DiskBus::Virtio,
        id: String::new(),
        slot: None,
        gone: false,
    }
}

fn run(options: Options) -> Result<Outcome, Box<dyn Error>> {
    let mut machine = Machine::new(options.config)?;
    let (engine, reason) = machine.engine_reason();
    eprintln!("engine: {engine} ({reason})");
    if let Some(seconds) = options.seconds {
        let control = machine.control();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(seconds));
            control.stop();
        });
    }
    let outcome = machine.run()?;
    if outcome == Outcome::Stopped || outcome == Outcome::TripleFault {
        for state in machine.cpu_states()? {
            eprintln!("{:x?} rip={:x}", state.gpr, state.rip);
            eprintln!(
                "flags={:x} cr3={:x} {:?}",
                state.rflags, state.cr3, state.activity
            );
        }
    }
    if options.stats {
        eprintln!("{:#?}", machine.stats());
    }
    Ok(outcome)
}

fn main() -> ExitCode {
    let outcome = parse(std::env::args().skip(1)).and_then(run);
    match outcome {
        Ok(Outcome::PowerOff) => ExitCode::SUCCESS,
        // The low byte is all that a process can end with.
        Ok(Outcome::DeviceExit(code)) => ExitCode::from((code & 0xff) as u8),
        Ok(other) => {
            eprintln!("the guest ended: {other:?}");
            ExitCode::FAILURE
        }
        Err(error) => {
            let mut sentence = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                sentence = format!("{sentence}: {error}");
                cause = error.source();
            }
            eprintln!("{sentence}");
            ExitCode::from(2)
        }
    }
}
