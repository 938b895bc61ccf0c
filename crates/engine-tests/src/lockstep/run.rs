//! Runs programs on two engines and compares everything at the end.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use engine::{EngineError, Entry, Exit, Kick, Vcpu, VcpuStats};
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};
use x86::cpuid::{self, HostCpuid, VcpuParams};
use x86::{CpuState, Exception, msr};

use super::handlers::{EXTERNAL, Handlers};
use super::layout::{INTERRUPT_PAGE, LOG, PAGE, RAM};
use super::program::Program;
use super::thread_clock::ThreadClock;
use crate::Make;

/// After so many a program has said enough.
const MOST_EXITS: usize = 3000;
/// Programs end by themselves within milliseconds of a processor, unless they changed their own code too
/// well.
const PATIENCE: Duration = Duration::from_secs(2);
const KICK_EVERY: Duration = Duration::from_micros(40);

/// A program's end.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    exits: Vec<Exit>,
    state: CpuState,
    ram: Vec<u8>,
}

/// One engine with its guest.
#[derive(Debug)]
struct Side {
    memory: GuestMemory,
    vcpu: Box<dyn Vcpu>,
    watch: Arc<Watch>,
}

/// What the thread that kicks knows.
#[derive(Debug)]
struct Watch {
    kick: Arc<dyn Kick>,
    running: Mutex<Option<Running>>,
    late: AtomicBool,
}

/// A program that runs.
#[derive(Debug, Clone, Copy)]
struct Running {
    since: Instant,
    clock: ThreadClock,
    /// Kicks come often.
    often: bool,
}

impl Running {
    /// Has it had all the time that it gets? What counts is the processor's: machines are shared.
    fn is_late(&self) -> bool {
        self.since.elapsed() > PATIENCE && self.clock.elapsed().is_none_or(|time| time > PATIENCE)
    }
}

impl Watch {
    fn set(&self, running: Option<Running>) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }

    /// How long to wait before the next look.
    fn look(&self) -> Duration {
        let running = *self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = running else {
            return Duration::from_millis(5);
        };
        if running.is_late() {
            self.late.store(true, Ordering::SeqCst);
            self.kick.kick();
        } else if running.often {
            self.kick.kick();
            return KICK_EVERY;
        }
        Duration::from_millis(5)
    }
}

impl Side {
    fn new(make: Make<'_>, handle: &mut Vec<Weak<Watch>>) -> Result<Side, EngineError> {
        let ram = RamRange {
            base: Gpa(0),
            len: RAM,
        };
        let no_memory = |_| EngineError::Unsupported {
            what: "a guest of 160 KiB",
        };
        let memory = GuestMemory::new(&[ram]).map_err(no_memory)?;
        let params = VcpuParams {
            id: 0,
            count: 1,
            tsc_khz: 1_000_000,
        };
        let model = cpuid::model("host").map_err(|_| EngineError::Unsupported {
            what: "the CPU model host",
        })?;
        let cpuid = cpuid::table(model, &HostCpuid::read(), &params);
        let vcpu = make(memory.clone())?.create_vcpu(0, &cpuid)?;
        let watch = Arc::new(Watch {
            kick: vcpu.kick(),
            running: Mutex::new(None),
            late: AtomicBool::new(false),
        });
        handle.push(Arc::downgrade(&watch));
        Ok(Side {
            memory,
            vcpu,
            watch,
        })
    }

    /// `None` when the program does not end.
    fn run(
        &mut self,
        program: &Program,
        ram: &[u8],
        system_call: u64,
    ) -> Result<Option<Outcome>, EngineError> {
        self.write(ram);
        let mut state = program.state.clone();
        state.msrs.insert(msr::LSTAR, system_call);
        self.vcpu.set_state(&state)?;
        self.vcpu.want_interrupt_window(false);
        self.watch.late.store(false, Ordering::SeqCst);
        self.watch.set(Some(Running {
            since: Instant::now(),
            clock: ThreadClock::start(),
            often: program.interrupted,
        }));
        let exits = self.run_exits(program.interrupted);
        self.watch.set(None);
        let Some(exits) = exits? else { return Ok(None) };
        let mut state = self.vcpu.state()?;
        state.tsc = 0;
        let mut ram = vec![0; ram.len()];
        self.read(&mut ram);
        if program.interrupted {
            let page = INTERRUPT_PAGE as usize;
            ram[page..page + PAGE as usize].fill(0);
        }
        Ok(Some(Outcome { exits, state, ram }))
    }

    fn run_exits(&mut self, interrupted: bool) -> Result<Option<Vec<Exit>>, EngineError> {
        let mut exits = Vec::new();
        let mut entry = Entry::Resume;
        while exits.len() < MOST_EXITS {
            let exit = self.vcpu.run(entry)?;
            if self.watch.late.load(Ordering::SeqCst) {
                return Ok(None);
            }
            entry = match exit {
                Exit::Interrupted => {
                    self.vcpu.want_interrupt_window(interrupted);
                    Entry::Resume
                }
                Exit::InterruptWindow => {
                    self.vcpu.want_interrupt_window(false);
                    Entry::Inject(EXTERNAL)
                }
                Exit::Halted | Exit::TripleFault | Exit::Failed { .. } => {
                    exits.push(exit);
                    return Ok(Some(exits));
                }
                exit => {
                    let entry = answer(&exit, exits.len() as u64);
                    exits.push(exit);
                    entry
                }
            };
        }
        Ok(Some(exits))
    }

    fn write(&self, ram: &[u8]) {
        let whole = self.memory.ram();
        // A page at a time, and only what differs: the engines keep what they made of the others.
        let mut page = vec![0; PAGE as usize];
        for (n, wanted) in ram.chunks(PAGE as usize).enumerate() {
            let at = GuestAddress(n as u64 * PAGE);
            let have = whole.read_slice(&mut page, at).is_ok() && page == wanted;
            if !have {
                whole.write_slice(wanted, at).unwrap_or_default();
            }
        }
    }

    fn read(&self, into: &mut [u8]) {
        let whole = self.memory.ram();
        whole.read_slice(into, GuestAddress(0)).unwrap_or_default();
    }
}

/// The machine's answer to exit `n`: something that depends on nothing else.
fn answer(exit: &Exit, n: u64) -> Entry {
    let noise = |from: u64| (from ^ n << 20).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    match *exit {
        Exit::MmioRead { gpa, size } => Entry::CompleteRead(noise(gpa.0) >> (64 - 8 * size)),
        Exit::PortRead { port, size } => Entry::CompleteRead(noise(port.into()) >> (64 - 8 * size)),
        Exit::TprRead | Exit::Hypercall { .. } => Entry::CompleteRead(3),
        Exit::MsrRead { .. } | Exit::MsrWrite { .. } => Entry::Fault(Exception::gp(0)),
        _ => Entry::Resume,
    }
}

/// How a program went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Same,
    /// It ended on neither engine.
    Endless,
    /// What differed, one a line.
    Differs(Vec<String>),
}

/// Two engines to be compared.
#[derive(Debug)]
pub struct Pair {
    sides: [Side; 2],
    names: [&'static str; 2],
    handlers: Handlers,
}

impl Pair {
    /// # Errors
    /// When the host does not give what the engines need.
    pub fn new(
        one: Make<'_>,
        other: Make<'_>,
        names: [&'static str; 2],
    ) -> Result<Pair, EngineError> {
        let mut watched = Vec::new();
        let sides = [
            Side::new(one, &mut watched)?,
            Side::new(other, &mut watched)?,
        ];
        thread::spawn(move || kick_all(&watched));
        let handlers = Handlers::assemble().map_err(|_| EngineError::Unsupported {
            what: "assembling the handlers",
        })?;
        Ok(Pair {
            sides,
            names,
            handlers,
        })
    }

    /// What both engines counted, for people.
    #[must_use]
    pub fn stats(&self) -> [VcpuStats; 2] {
        [self.sides[0].vcpu.stats(), self.sides[1].vcpu.stats()]
    }

    /// Runs the program on both.
    ///
    /// # Errors
    /// When an engine fails.
    pub fn run(&mut self, program: &Program) -> Result<Verdict, EngineError> {
        self.run_different(program, program)
    }

    /// Runs one program on the first engine and another on the second: to see that a difference is
    /// seen.
    ///
    /// # Errors
    /// When an engine fails.
    pub fn run_different(&mut self, a: &Program, b: &Program) -> Result<Verdict, EngineError> {
        let mut ram = vec![0; RAM as usize];
        a.fill(&mut ram, &self.handlers);
        let first = self.sides[0].run(a, &ram, self.handlers.system_call())?;
        b.fill(&mut ram, &self.handlers);
        let second = self.sides[1].run(b, &ram, self.handlers.system_call())?;
        Ok(match (first, second) {
            (None, None) => Verdict::Endless,
            (Some(_), None) => Verdict::Differs(vec![format!("{} does not end", self.names[1])]),
            (None, Some(_)) => Verdict::Differs(vec![format!("{} does not end", self.names[0])]),
            (Some(a), Some(b)) if a == b => Verdict::Same,
            (Some(a), Some(b)) => Verdict::Differs(differences(&a, &b)),
        })
    }
}

fn kick_all(watched: &[Weak<Watch>]) {
    loop {
        let mut wait = Duration::from_millis(5);
        let mut alive = false;
        for watch in watched.iter().filter_map(Weak::upgrade) {
            alive = true;
            wait = wait.min(watch.look());
        }
        if !alive {
            return;
        }
        thread::sleep(wait);
    }
}

/// What is not equal, one a line.
fn differences(a: &Outcome, b: &Outcome) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |what: &str, a: String, b: String| {
        if a != b {
            found.push(format!("{what}: {a} / {b}"));
        }
    };
    let first = (0..a.exits.len().max(b.exits.len())).find(|&n| a.exits.get(n) != b.exits.get(n));
    if let Some(n) = first {
        let text = |exits: &[Exit]| format!("{:x?}", exits.get(n));
        check(&format!("exit {n}"), text(&a.exits), text(&b.exits));
    }
    let (x, y) = (&a.state, &b.state);
    for n in 0..16 {
        check(
            &format!("gpr{n}"),
            format!("{:x}", x.gpr[n]),
            format!("{:x}", y.gpr[n]),
        );
        check(&format!("ymm{n}"), hex(&x.fpu.ymm[n]), hex(&y.fpu.ymm[n]));
    }
    for n in 0..8 {
        check(&format!("st{n}"), hex(&x.fpu.st[n]), hex(&y.fpu.st[n]));
    }
    for (name, x, y) in [
        ("rip", x.rip, y.rip),
        ("rflags", x.rflags, y.rflags),
        ("cr2", x.cr2, y.cr2),
        ("mxcsr", x.fpu.mxcsr.into(), y.fpu.mxcsr.into()),
    ] {
        check(name, format!("{x:x}"), format!("{y:x}"));
    }
    for n in 0..64 {
        let (x, y) = (fault(&a.ram, n), fault(&b.ram, n));
        if x != y {
            check(&format!("exception {n}"), x, y);
            break;
        }
    }
    let mut bytes = (0..a.ram.len()).filter(|&at| a.ram[at] != b.ram[at]);
    for at in bytes.by_ref().take(12) {
        check(
            &format!("byte at {at:#x}"),
            format!("{:x}", a.ram[at]),
            format!("{:x}", b.ram[at]),
        );
    }
    if found.is_empty() {
        found.push(format!("states: {:x?} / {:x?}", a.state, b.state));
    }
    found
}

/// What the handlers logged of exception `n`.
fn fault(ram: &[u8], n: usize) -> String {
    let word = |field: usize| {
        let at = LOG as usize + n * 64 + field * 8;
        u64::from_le_bytes(ram[at..at + 8].try_into().unwrap_or_default())
    };
    let [vector, code, rip, flags, cr2] = [0, 1, 2, 3, 4].map(word);
    format!("vector {vector} code {code:x} rip {rip:x} flags {flags:x} cr2 {cr2:x}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().rev().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
