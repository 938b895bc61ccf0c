//! The same guest on the interpreter and on the translator, which must end the same.

use engine::{Engine, Entry, Exit, Vcpu};
use engine_soft::SoftEngine;
use memory::GuestMemory;
use vm_memory::{Bytes, GuestAddress};
use x86::CpuState;

use crate::guest_memory::write;
use crate::hostile_guest::table;

const MOST_EXITS: usize = 40;

/// How a guest's run went on.
#[derive(Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) exits: Vec<Exit>,
    pub(crate) state: CpuState,
}

/// Interpreter and translator.
pub(crate) struct Both([(GuestMemory, Box<dyn Vcpu>); 2]);

impl Both {
    /// Two guests with memory that `memory` makes.
    pub(crate) fn new(memory: impl Fn() -> GuestMemory) -> Both {
        Both(
            [SoftEngine::new, |memory| {
                SoftEngine::translator_after(memory, 1)
            }]
            .map(|make| {
                let memory = memory();
                let vcpu = make(memory.clone()).create_vcpu(0, &table());
                (memory, vcpu.expect("a vCPU"))
            }),
        )
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        for (memory, _) in &self.0 {
            write(memory, at, bytes);
        }
    }

    /// Eight bytes that are the same in both.
    #[allow(dead_code, reason = "not every test looks at memory")]
    pub(crate) fn read_word(&self, at: u64) -> u64 {
        let read = self.0[0].0.ram().read_obj(GuestAddress(at));
        read.expect("inside RAM")
    }

    /// Asserts that `len` bytes of both memories are equal.
    #[allow(dead_code, reason = "not every test looks at memory")]
    pub(crate) fn same(&self, at: u64, len: u64, what: &str) {
        let len = usize::try_from(len).expect("a length");
        let [one, other] = self.0.each_ref().map(|(memory, _)| {
            let mut bytes = vec![0; len];
            let read = memory.ram().read_slice(&mut bytes, GuestAddress(at));
            read.expect("inside RAM");
            bytes
        });
        assert!(one == other, "{what}: memory at {at:#x}");
    }

    /// Runs from `state` on both until it halts, and answers the one way that both go.
    pub(crate) fn run(&mut self, state: &CpuState, what: &str) -> Run {
        let [expected, run] = self.0.each_mut().map(|(_, vcpu)| run(vcpu.as_mut(), state));
        assert!(expected == run, "{what}:\n{expected:#x?}\n{run:#x?}");
        run
    }
}

/// Runs until it halts or has left often; reads of devices are answered with a pattern.
pub(crate) fn run(vcpu: &mut dyn Vcpu, state: &CpuState) -> Run {
    vcpu.set_state(state).expect("a state");
    let mut exits = Vec::new();
    let mut entry = Entry::Resume;
    while exits.len() < MOST_EXITS {
        exits.push(vcpu.run(entry).expect("no host failure"));
        if matches!(exits.last(), Some(Exit::Halted | Exit::TripleFault)) {
            break;
        }
        entry = Entry::CompleteRead(0x0123_4567_89ab_cdef);
    }
    let mut state = vcpu.state().expect("a state");
    state.tsc = 0;
    Run { exits, state }
}
