//! Guests that try to keep their host: whatever they do, a stop ends the run soon, and the process
//! does not grow with what they do.
#![allow(
    clippy::cast_possible_truncation,
    reason = "guest addresses are below 4 GiB"
)]

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use iced_x86::code_asm::*;
use machine::{
    Chardev, ConsoleConfig, EngineChoice, Limits, Machine, MachineConfig, Outcome, Reboot,
    SavedMachine, UsbConfig,
};

const LOAD: u32 = 0x10_0000;
const HEADER_LEN: u32 = 32;
const ENTRY: u32 = LOAD + HEADER_LEN;
/// Where the start-up code of other processors goes, and its vector.
const START_UP: u32 = 0x8000;
const START_UP_VECTOR: u32 = START_UP >> 12;
const IDT: u32 = 0x20_0000;
const APIC: u32 = 0xfee0_0000;
const RUN: Duration = Duration::from_millis(400);
/// From the stop to the end of the run: far more than it takes on a busy machine, and less than a
/// writer waits for a reader when nobody wants an end.
const SOON: Duration = Duration::from_secs(4);
/// The size that is looked at is the whole process's, so one guest runs at a time.
static ALONE: Mutex<()> = Mutex::new(());
/// What a process may grow by for each processor of a guest that does its worst for a while, in bytes:
/// a full cache of decoded code, which is 90 MiB, and not much else.
const GROWTH: u64 = 128 << 20;

type Code = CodeAssembler;
type Assembled = Result<(), IcedError>;

struct TempFile(PathBuf);

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A flat multiboot image of what `write` assembles, in 32-bit protected mode.
fn kernel(name: &str, write: impl FnOnce(&mut Code) -> Assembled) -> TempFile {
    const MAGIC: u32 = 0x1bad_b002;
    const FLAGS: u32 = 1 << 16;
    let mut code = CodeAssembler::new(32).expect("32 bits exist");
    write(&mut code).expect("instructions that exist");
    let checksum = 0u32.wrapping_sub(MAGIC.wrapping_add(FLAGS));
    let fields = [MAGIC, FLAGS, checksum, LOAD, LOAD, 0, 0, ENTRY];
    let mut file: Vec<u8> = fields.iter().flat_map(|f| f.to_le_bytes()).collect();
    file.extend(code.assemble(u64::from(ENTRY)).expect("code that fits"));
    let name = format!("innkeeper-hostile-{}-{name}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, file).expect("a writable directory");
    TempFile(path)
}

struct Options {
    vcpus: u32,
    reboot: Reboot,
    /// The reader of the serial line and of the console does not read.
    deaf: bool,
}

const ONE: Options = Options {
    vcpus: 1,
    reboot: Reboot::Exit,
    deaf: false,
};

/// The reading end, which must live as long as the guest, and the writing one.
fn output(deaf: bool) -> (Option<std::io::PipeReader>, Option<OwnedFd>) {
    if !deaf {
        let null = std::fs::File::create("/dev/null").expect("a null device");
        return (None, Some(OwnedFd::from(null)));
    }
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (Some(reader), Some(OwnedFd::from(writer)))
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4096
}

/// Runs the guest for a while, stops it, and sees that it ends only then, but soon.
fn endure(name: &str, options: &Options, write: impl FnOnce(&mut Code) -> Assembled) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let kernel = kernel(name, write);
    let (_serial_reader, serial) = output(options.deaf);
    let (_console_reader, console) = output(options.deaf);
    let ends = |output| Chardev {
        input: None,
        output,
    };
    let config = MachineConfig {
        vcpus: options.vcpus,
        memory: 4 << 20,
        max_memory: 0,
        max_vcpus: 0,
        engine: EngineChoice::Interpreter,
        kernel: kernel.0.clone(),
        serial: [Some(ends(serial)), None],
        console: Some(ConsoleConfig {
            console: Some(ends(console)),
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
        reboot: options.reboot,
        limits: Limits::default(),
        times: false,
        merges_memory: false,
        ..machine_config()
    };
    let mut machine = Machine::new(config).expect("a machine");
    let before = resident();
    let control = machine.control();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(RUN);
        control.stop();
        Instant::now()
    });
    let outcome = machine.run().expect("a run");
    let ended = Instant::now();
    // An INIT sent to the first processor ends the guest as a reset does.
    let ended_well = matches!(outcome, Outcome::Stopped | Outcome::Reset);
    assert!(ended_well, "{name}: {outcome:?}");
    let grown = resident().saturating_sub(before);
    let stopped = stopper.join().expect("the stopper");
    let took = ended.saturating_duration_since(stopped);
    assert!(took < SOON, "{name}: ended {took:?} after the stop");
    let most = GROWTH * u64::from(options.vcpus);
    assert!(grown < most, "{name}: grew by {grown} bytes");
    let saved = machine.save().expect("a saved machine").to_bytes();
    let saved = saved.expect("bytes");
    assert!(saved.len() < 1 << 20, "{name}: {} bytes saved", saved.len());
    let again = SavedMachine::from_bytes(&saved).expect("its own bytes");
    machine.restore(&again).expect("its own state");
    let begun = Instant::now();
    drop(machine);
    assert!(begun.elapsed() < SOON, "{name}: does not go");
}

fn machine_config() -> MachineConfig {
    MachineConfig {
        vcpus: 1,
        memory: 4 << 20,
        max_memory: 0,
        max_vcpus: 0,
        engine: EngineChoice::Interpreter,
        cpu_model: x86::cpuid::DEFAULT_MODEL.to_owned(),
        kernel: PathBuf::new(),
        firmware: None,
        initrd: Vec::new(),
        command_line: String::new(),
        disks: Vec::new(),
        serial: [None, None],
        console: None,
        network: None,
        cards: Vec::new(),
        folders: Vec::new(),
        vsock: None,
        screen: None,
        sound: None,
        parallel: None,
        tpm: None,
        rng: false,
        usb: UsbConfig::default(),
        balloon: false,
        reboot: Reboot::Exit,
        limits: Limits::default(),
        times: false,
        merges_memory: false,
    }
}

/// `out port, value`
fn out(a: &mut Code, port: u32, value: u32) -> Assembled {
    a.mov(edx, port)?;
    a.mov(eax, value)?;
    a.out(dx, al)
}

fn mmio(a: &mut Code, address: u32, value: u32) -> Assembled {
    a.mov(dword_ptr(address), value)
}

/// Puts something into the code that is not run here, and its address into EBX.
fn aside(a: &mut Code, content: impl FnOnce(&mut Code) -> Assembled) -> Assembled {
    let mut over = a.create_label();
    a.mov(esp, 0x30_0000)?;
    a.call(over)?;
    content(a)?;
    a.set_label(&mut over)?;
    a.pop(ebx)
}

/// Every vector leads to `handler`.
fn interrupt_table(a: &mut Code, handler: impl FnOnce(&mut Code) -> Assembled) -> Assembled {
    let mut next = a.create_label();
    aside(a, handler)?;
    a.mov(edi, IDT)?;
    a.mov(ecx, 256)?;
    a.set_label(&mut next)?;
    a.mov(eax, ebx)?;
    a.and(eax, 0xffff)?;
    a.or(eax, 0x10 << 16)?;
    a.stosd()?;
    a.mov(eax, ebx)?;
    a.and(eax, 0xffff_0000u32)?;
    a.or(eax, 0x8e00)?;
    a.stosd()?;
    a.loop_(next)?;
    let table = [0x7ff, IDT as u16, (IDT >> 16) as u16];
    aside(a, |a| a.dw(&table))?;
    a.lidt(ptr(ebx))
}

/// Copies code to where other processors start, and starts all of them.
fn start_others(a: &mut Code, code: &[u8]) -> Assembled {
    for (index, byte) in (START_UP..).zip(code) {
        a.mov(byte_ptr(index), u32::from(*byte))?;
    }
    mmio(a, APIC + 0xf0, 0x1ff)?;
    mmio(a, APIC + 0x300, 0xc_4500)?;
    mmio(a, APIC + 0x300, 0xc_4600 | START_UP_VECTOR)
}

#[test]
fn loops() {
    for (name, prefix) in [("jump", None), ("rep", Some(0xf3)), ("repne", Some(0xf2))] {
        endure(name, &ONE, |a| {
            let mut again = a.create_label();
            a.set_label(&mut again)?;
            a.mov(ecx, u32::MAX)?;
            if let Some(prefix) = prefix {
                a.mov(esi, 0u32)?;
                a.mov(edi, 0u32)?;
                // CMPSB, byte by byte and of memory that is equal to itself.
                a.db(&[prefix, 0xa6])?;
            }
            a.jmp(again)
        });
    }
}

#[test]
fn string_instructions_on_devices() {
    endure("rep-mmio", &ONE, |a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.mov(ecx, u32::MAX)?;
        a.mov(esi, APIC)?;
        a.mov(edi, 0x4000_0000u32)?;
        a.rep().movsd()?;
        a.jmp(again)
    });
    endure("rep-out", &ONE, |a| {
        a.mov(ecx, u32::MAX)?;
        a.mov(esi, 0u32)?;
        a.mov(edx, 0x3f8u32)?;
        a.rep().outsb()?;
        a.hlt()
    });
}

#[test]
fn halted_for_good() {
    let halt = |a: &mut Code| {
        a.cli()?;
        a.hlt()
    };
    endure("halt", &ONE, halt);
}

#[test]
fn faults_without_end() {
    endure("faults", &ONE, |a| {
        interrupt_table(a, Code::ud2)?;
        // No RAM: the frames go nowhere.
        a.mov(esp, 0x8000_0000u32)?;
        a.ud2()
    });
}

#[test]
fn resets_without_end() {
    let options = Options {
        reboot: Reboot::Restart,
        ..ONE
    };
    endure("reset", &options, |a| out(a, 0x64, 0xfe));
}

#[test]
fn output_that_nobody_reads() {
    let options = Options { deaf: true, ..ONE };
    endure("deaf", &options, |a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        out(a, 0x3f8, 0x78)?;
        a.jmp(again)
    });
}

#[test]
fn code_that_changes_itself() {
    endure("self-modifying", &ONE, |a| {
        let mut again = a.create_label();
        aside(a, |a| {
            a.mov(eax, 0u32)?;
            a.ret()
        })?;
        a.set_label(&mut again)?;
        a.inc(ecx)?;
        a.mov(dword_ptr(ebx + 1), ecx)?;
        a.call(ebx)?;
        a.jmp(again)
    });
}

#[test]
fn code_everywhere() {
    // Every address of the block cache's, several times over.
    endure("much-code", &ONE, |a| {
        let (mut again, mut fill) = (a.create_label(), a.create_label());
        a.mov(edi, 0x20_0000)?;
        a.mov(ecx, 0x1f_0000)?;
        a.mov(al, 0x90)?;
        a.rep().stosb()?;
        a.mov(byte_ptr(edi), 0xc3)?;
        a.mov(esp, 0x1f_0000)?;
        a.set_label(&mut again)?;
        a.mov(ebx, 0x20_0000)?;
        a.set_label(&mut fill)?;
        a.call(ebx)?;
        a.add(ebx, 1)?;
        a.cmp(ebx, 0x3e_0000)?;
        a.jb(fill)?;
        a.jmp(again)
    });
}

#[test]
fn the_fastest_timers() {
    endure("timers", &ONE, |a| {
        let mut wait = a.create_label();
        interrupt_table(a, |a| {
            mmio(a, APIC + 0xb0, 0)?;
            a.mov(al, 0x20)?;
            a.out(0x20, al)?;
            a.out(0xa0, al)?;
            a.iretd()
        })?;
        // PIC pair at 40h, everything open; PIT channel 0 in mode 2 by 2.
        for (port, value) in [
            (0x20, 0x11),
            (0x21, 0x40),
            (0x21, 4),
            (0x21, 1),
            (0xa0, 0x11),
            (0xa1, 0x48),
            (0xa1, 2),
            (0xa1, 1),
            (0x21, 0),
            (0xa1, 0),
            (0x43, 0x34),
            (0x40, 2),
            (0x40, 0),
            // RTC: periodic interrupt at its fastest.
            (0x70, 0x0a),
            (0x71, 0x21),
            (0x70, 0x0b),
            (0x71, 0x42),
        ] {
            out(a, port, value)?;
        }
        // Local APIC: on, periodic, divided by one, after one tick.
        for (register, value) in [(0xf0, 0x1ff), (0x3e0, 0xb), (0x320, 0x2_0060), (0x380, 1)] {
            mmio(a, APIC + register, value)?;
        }
        a.sti()?;
        a.set_label(&mut wait)?;
        a.hlt()?;
        a.jmp(wait)
    });
}

#[test]
fn messages_between_processors() {
    // cli; hlt; and again. Then an iret, for NMIs: without, each would be the last that its processor
    // takes, and have it run through whatever lies from address 0 on.
    const HALT: [u8; 5] = [0xfa, 0xf4, 0xeb, 0xfd, 0xcf];
    const NMI_VECTOR: u32 = 2 * 4;
    let options = Options { vcpus: 4, ..ONE };
    for (name, commands) in [
        ("init-storm", &[0xc_4500, 0xc_4600 | START_UP_VECTOR][..]),
        ("nmi-storm", &[0xc_4400]),
        ("ipi-storm", &[0xc_4040, 0xc_4041, 0x8_40ff]),
    ] {
        endure(name, &options, |a| {
            let mut again = a.create_label();
            a.mov(dword_ptr(NMI_VECTOR), START_UP >> 4 << 16 | 4)?;
            start_others(a, &HALT)?;
            a.set_label(&mut again)?;
            for &command in commands {
                mmio(a, APIC + 0x300, command)?;
            }
            a.jmp(again)
        });
    }
}

#[test]
fn processors_that_reset_each_other() {
    // The others send INITs, themselves included, through a flat DS set up by hand.
    const ATTACK: [u8; 49] = [
        0xfa, // cli
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0x66, 0x0f, 0x01, 0x16, 0x20, 0x80, // lgdt [8020h]
        0x0f, 0x20, 0xc0, // mov eax, cr0
        0x0c, 0x01, // or al, 1
        0x0f, 0x22, 0xc0, // mov cr0, eax
        0xb8, 0x08, 0x00, // mov ax, 8
        0x8e, 0xd8, // mov ds, ax
        0x66, 0xbb, 0x00, 0x03, 0xe0, 0xfe, // mov ebx, fee00300h
        0xeb, 0x0e, // over the table at 8020h
        0x0f, 0x00, 0x30, 0x80, 0x00, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, // limit, base 8030h
        0xeb, 0x10, // over the descriptors at 8030h
        0x90,
    ];
    let mut code = ATTACK.to_vec();
    code.resize(0x38, 0);
    code.extend(0x00cf_9300_0000_ffffu64.to_le_bytes());
    // INIT to processors 1 to 3 in turn: mov dword [ebx + 10h], target; mov dword [ebx], 4500h.
    for target in 1..4u8 {
        code.extend([0x67, 0x66, 0xc7, 0x43, 0x10, 0, 0, 0, target]);
        code.extend([0x67, 0x66, 0xc7, 0x03, 0x00, 0x45, 0x00, 0x00]);
    }
    let back = -(3 * 17 + 2i8);
    code.extend([0xeb, back.to_le_bytes()[0]]);
    let options = Options { vcpus: 4, ..ONE };
    endure("mutual-init", &options, |a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        start_others(a, &code)?;
        a.jmp(again)
    });
}

#[test]
fn clocks_in_wrong_places() {
    endure("kvmclock", &ONE, |a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        for (msr, high, low) in [
            (0x4b56_4d01, 0u32, 0xfee0_0001u32),
            (0x4b56_4d01, 0xffff_ffff, 0xffff_ffff),
            (0x4b56_4d01, 0, 0x3f_fff1),
            (0x4b56_4d01, 0, 0x9_fff9),
            (0x4b56_4d00, 0xffff_ffff, 0xffff_fffc),
            (0x4b56_4d00, 0, 0xa_0000),
        ] {
            a.mov(ecx, msr)?;
            a.mov(edx, high)?;
            a.mov(eax, low)?;
            a.wrmsr()?;
        }
        a.jmp(again)
    });
}

#[test]
fn messages_by_write_and_notifies() {
    endure("notify", &ONE, |a| {
        let mut again = a.create_label();
        a.mov(edx, 0xcf8)?;
        // The first virtio device: memory and bus mastering on.
        for (register, value) in [(0x04, 0x6), (0x10, 0xc100_0000u32), (0x14, 0)] {
            a.mov(eax, 0x8000_0800u32 | register)?;
            a.mov(edx, 0xcf8)?;
            a.out(dx, eax)?;
            a.mov(eax, value)?;
            a.mov(edx, 0xcfc)?;
            a.out(dx, eax)?;
        }
        const BAR: u32 = 0xc100_0000;
        for status in [1, 3] {
            a.mov(byte_ptr(BAR + 0x14), status)?;
        }
        mmio(a, BAR + 0x08, 1)?;
        mmio(a, BAR + 0x0c, 1)?;
        a.mov(byte_ptr(BAR + 0x14), 0xb)?;
        a.mov(byte_ptr(BAR + 0x14), 0xf)?;
        a.set_label(&mut again)?;
        mmio(a, BAR + 0x3000, 0)?;
        mmio(a, BAR + 0x3004, 1)?;
        // An MSI of its own making, to nowhere.
        mmio(a, APIC + 0x1000, 0x4041)?;
        a.jmp(again)
    });
}
