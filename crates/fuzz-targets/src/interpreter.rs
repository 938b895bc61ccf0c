//! The interpreter under hostile guests: any code, in any mode, over any tables, from any state.
//!
//! What must hold whatever the guest does: `run` comes back when it is kicked, an exit is one that
//! the contract knows and never one for an address of RAM, nothing panics, and the state that is
//! taken at the end is taken back unchanged. A thread kicks the vCPU all the time, so that endless
//! loops end; where a kick is not answered within [`HANG`], the process aborts.

mod code;
mod guard_raw;
mod guest;
mod state;

use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use engine::{Engine, Entry, Exit, Kick, Vcpu};
use engine_soft::SoftEngine;
use memory::{Gla, GuestMemory};
use x86::cpuid::{self, CpuidTable, HostCpuid, VcpuParams};
use x86::{CpuState, Exception};

use crate::Input;
use guard_raw::Guards;
use guest::Guest;

/// Kicks after which a guest has had its turn.
const KICKS: u32 = 2;
const EXITS: u32 = 512;
const KICK_EVERY: Duration = Duration::from_micros(150);
const HANG: Duration = Duration::from_secs(20);

/// One vCPU in a guest with its tables in order, but for what the input pokes into them.
pub(crate) fn interpreter(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let guest = Guest::new(&mut input);
    let engine = SoftEngine::new(guest.memory.clone());
    let mut vcpu = new_vcpu(&engine, 0);
    vcpu.set_state(&guest.state)
        .expect("the interpreter takes every state");
    run(vcpu.as_mut(), &guest.memory, &mut input);
    check_state(vcpu.as_mut());
}

/// Two vCPUs at once in one guest: they write each other's code, page tables and descriptors.
pub(crate) fn interpreter_smp(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let guest = Guest::new(&mut input);
    let engine = SoftEngine::new(guest.memory.clone());
    let mut vcpus = [0, 1].map(|id| new_vcpu(&engine, id));
    let mut answers = [input.clone(), input];
    std::thread::scope(|scope| {
        for (vcpu, input) in vcpus.iter_mut().zip(&mut answers) {
            let guest = &guest;
            scope.spawn(move || {
                vcpu.set_state(&guest.state)
                    .expect("the interpreter takes every state");
                run(vcpu.as_mut(), &guest.memory, input);
                check_state(vcpu.as_mut());
            });
        }
    });
}

/// Every field of the state from the input, over memory full of it.
pub(crate) fn cpu_state(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let state = state::arbitrary(&mut input);
    let memory = guest::memory();
    let _guards = Guards::new(&memory);
    guest::fill(&memory, &mut input);
    let engine = SoftEngine::new(memory.clone());
    let mut vcpu = new_vcpu(&engine, 0);
    vcpu.set_state(&state)
        .expect("the interpreter takes every state");
    check_state(vcpu.as_mut());
    run(vcpu.as_mut(), &memory, &mut input);
    check_state(vcpu.as_mut());
}

fn cpuid_table(id: u32) -> CpuidTable {
    let model = cpuid::model("host").expect("the model of everything");
    let params = VcpuParams {
        id,
        count: 2,
        tsc_khz: 2_000_000,
    };
    cpuid::table(model, &HostCpuid::read(), &params)
}

fn new_vcpu(engine: &SoftEngine, id: u32) -> Box<dyn Vcpu> {
    static TABLES: Mutex<Vec<CpuidTable>> = Mutex::new(Vec::new());
    let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    if tables.is_empty() {
        tables.extend([0, 1].map(cpuid_table));
    }
    let made = engine.create_vcpu(id, &tables[id as usize]);
    made.expect("the interpreter makes vCPUs")
}

/// Taking the state and giving it back changes nothing but the time.
fn check_state(vcpu: &mut dyn Vcpu) {
    let taken = vcpu.state().expect("a state");
    vcpu.set_state(&taken).expect("its own state");
    let again = vcpu.state().expect("a state");
    let again = CpuState {
        tsc: taken.tsc,
        ..again
    };
    assert_eq!(again, taken, "a state that is given back has changed");
}

fn run(vcpu: &mut dyn Vcpu, memory: &GuestMemory, input: &mut Input<'_>) {
    let _kicked = Kicked::new(vcpu.kick());
    let mut kicks = 0;
    let mut entry = Entry::Resume;
    for _ in 0..EXITS {
        let exit = vcpu.run(entry).expect("no host failure");
        entry = match exit {
            Exit::Interrupted => {
                kicks += 1;
                if kicks == KICKS {
                    return;
                }
                look(vcpu, input);
                Entry::Resume
            }
            Exit::TripleFault | Exit::Failed { .. } => return,
            Exit::Halted => {
                vcpu.inject_nmi().expect("no host failure");
                Entry::Resume
            }
            Exit::InterruptWindow => {
                vcpu.want_interrupt_window(false);
                match input.byte() {
                    0 => Entry::Resume,
                    vector => Entry::Inject(vector),
                }
            }
            other => answer(&other, memory, input),
        };
    }
}

/// What a machine may do to a vCPU that stands still.
fn look(vcpu: &mut dyn Vcpu, input: &mut Input<'_>) {
    let what = input.byte();
    vcpu.want_interrupt_window(what & 1 != 0);
    if what & 2 != 0 {
        vcpu.inject_nmi().expect("no host failure");
    }
    if what & 4 != 0 {
        check_state(vcpu);
    }
    if what & 8 != 0 {
        let _ = vcpu.translate(Gla(input.number()));
        let _ = vcpu.stats();
    }
}

fn answer(exit: &Exit, memory: &GuestMemory, input: &mut Input<'_>) -> Entry {
    let natural = |size: u8| matches!(size, 1 | 2 | 4 | 8);
    match *exit {
        Exit::PortRead { size, .. } | Exit::PortWrite { size, .. } => {
            assert!(natural(size) && size < 8, "{exit:?}");
        }
        Exit::MmioRead { gpa, size } | Exit::MmioWrite { gpa, size, .. } => {
            assert!(natural(size), "{exit:?}");
            let last = gpa.checked_add(u64::from(size) - 1);
            let pages = [Some(gpa), last].into_iter().flatten();
            for page in pages {
                assert!(memory.host_page(page).is_none(), "{exit:?} is of RAM");
            }
        }
        _ => {}
    }
    let reads = matches!(
        exit,
        Exit::PortRead { .. }
            | Exit::MmioRead { .. }
            | Exit::MsrRead { .. }
            | Exit::TprRead
            | Exit::Hypercall { .. }
    );
    if matches!(exit, Exit::MsrRead { .. } | Exit::MsrWrite { .. }) && input.bool() {
        Entry::Fault(Exception::gp(0))
    } else if reads {
        Entry::CompleteRead(input.number())
    } else {
        Entry::Resume
    }
}

struct Watched {
    id: u64,
    kick: Arc<dyn Kick>,
    since: Instant,
}

struct Watch {
    next: u64,
    list: Vec<Watched>,
}

static WATCH: Mutex<Watch> = Mutex::new(Watch {
    next: 0,
    list: Vec::new(),
});

/// While this lives, the vCPU is kicked.
struct Kicked(u64);

impl Kicked {
    fn new(kick: Arc<dyn Kick>) -> Kicked {
        static THREAD: Once = Once::new();
        THREAD.call_once(|| {
            std::thread::spawn(kick_all);
        });
        let mut watch = WATCH.lock().unwrap_or_else(PoisonError::into_inner);
        watch.next += 1;
        let id = watch.next;
        let since = Instant::now();
        watch.list.push(Watched { id, kick, since });
        Kicked(id)
    }
}

impl Drop for Kicked {
    fn drop(&mut self) {
        let mut watch = WATCH.lock().unwrap_or_else(PoisonError::into_inner);
        watch.list.retain(|watched| watched.id != self.0);
    }
}

fn kick_all() {
    loop {
        std::thread::sleep(KICK_EVERY);
        let watch = WATCH.lock().unwrap_or_else(PoisonError::into_inner);
        for watched in &watch.list {
            watched.kick.kick();
            if watched.since.elapsed() > HANG {
                eprintln!("a vCPU does not answer its kick");
                std::process::abort();
            }
        }
    }
}
