//! Runs a case in a vCPU: ring 3 of a 64-bit guest whose exception handlers are HLT.

use engine::{Engine, Entry, Exit, Vcpu};
use engine_soft::SoftEngine;
use memory::{Gpa, GuestMemory, RamRange};
use vm_memory::{Bytes, GuestAddress};
use x86::cpuid::{HostCpuid, VcpuParams, model, table};
use x86::register::{cr0, cr4, efer, xcr0};
use x86::{CpuState, DescriptorTable, Fpu, Segment};

use crate::case::{
    CODE, CODE_PAGES, Case, DATA, DATA_PAGES, LDT_CODE, LDT_DATA, Outcome, PAGE, Registers, WINDOW,
    WINDOW_PAGES, WRITABLE_PAGES, Width,
};

const TABLES: u64 = 0x1000;
const GDT: u64 = 0x8000;
const IDT: u64 = 0x9000;
const TSS: u64 = 0xb000;
/// Handler n is a HLT at `HANDLERS + 16 n`.
const HANDLERS: u64 = 0xc000;
const STACK_TOP: u64 = 0x1_0000;
const CODE_AT: u64 = 0x10_0000;
const DATA_AT: u64 = 0x11_0000;
const RAM: u64 = 0x20_0000;

const PRESENT: u64 = 1;
const WRITE: u64 = 2;
const USER: u64 = 4;
const USED: u64 = 0x60;
const NO_EXECUTE: u64 = 1 << 63;

/// Exceptions that push an error code.
const WITH_CODE: [u8; 8] = [8, 10, 11, 12, 13, 14, 17, 21];

pub(crate) struct Guest {
    memory: GuestMemory,
    vcpu: Box<dyn Vcpu>,
    template: CpuState,
    dirty: std::ops::Range<u64>,
}

impl Guest {
    /// With all code translated, or all of it interpreted.
    pub(crate) fn new(translated: bool) -> Guest {
        let ram = RamRange {
            base: Gpa(0),
            len: RAM,
        };
        let memory = GuestMemory::new(&[ram]).expect("2 MiB of memory");
        let params = VcpuParams {
            id: 0,
            count: 1,
            tsc_khz: 1_000_000,
        };
        let cpuid = table(
            model("host").expect("the model exists"),
            &HostCpuid::read(),
            &params,
        );
        let engine = if translated {
            SoftEngine::translator_after(memory.clone(), 1)
        } else {
            SoftEngine::new(memory.clone())
        };
        let vcpu = engine.create_vcpu(0, &cpuid).expect("a vCPU");
        let guest = Guest {
            memory,
            vcpu,
            template: template(),
            dirty: 0..0,
        };
        guest.build();
        guest
    }

    fn put(&self, at: u64, value: u64) {
        let ram = self.memory.ram();
        ram.write_obj(value, GuestAddress(at)).expect("inside RAM");
    }

    fn bytes(&self, at: u64, bytes: &[u8]) {
        let ram = self.memory.ram();
        ram.write_slice(bytes, GuestAddress(at))
            .expect("inside RAM");
    }

    fn build(&self) {
        let [root, directories, directory, code, data] =
            [0, 1, 2, 3, 4].map(|n| TABLES + n * 0x1000);
        let link = PRESENT | WRITE | USER | USED;
        self.put(root, directories | link);
        self.put(directories, directory | link);
        let large = 0x80;
        self.put(directory, large | PRESENT | WRITE | USED);
        self.put(directory + (CODE >> 21 & 511) * 8, code | link);
        self.put(directory + (DATA >> 21 & 511) * 8, data | link);
        for page in 0..CODE_PAGES {
            let slot = ((CODE >> 12) + page) & 511;
            let at = CODE_AT + page * PAGE as u64;
            self.put(code + slot * 8, at | PRESENT | USER | USED);
        }
        for page in 0..DATA_PAGES {
            let slot = ((DATA >> 12) + page) & 511;
            let at = DATA_AT + page * PAGE as u64;
            let write = if page < WRITABLE_PAGES { WRITE } else { 0 };
            self.put(
                data + slot * 8,
                at | PRESENT | write | USER | USED | NO_EXECUTE,
            );
        }
        self.bytes(CODE_AT, &[0xcc; CODE_PAGES as usize * PAGE]);
        self.put(GDT + 0x10, 0x00af_9b00_0000_ffff);
        self.put(GDT + 0x18, 0x00cf_9300_0000_ffff);
        self.put(GDT + 0x20, 0x00cf_fb00_0000_ffff);
        self.put(GDT + 0x28, 0x00cf_f300_0000_ffff);
        self.put(GDT + 0x30, 0x00af_fb00_0000_ffff);
        for vector in 0..256 {
            let target = HANDLERS + vector * 16;
            let rights = 0xee00;
            let low = target & 0xffff | 0x10 << 16 | rights << 32 | (target >> 16) << 48;
            self.put(IDT + vector * 16, low);
            self.bytes(target, &[0xf4]);
        }
        self.put(TSS + 4, STACK_TOP);
    }

    /// Runs the case; a text where the engine did something else than reach a handler.
    pub(crate) fn run(&mut self, case: &Case) -> Result<Outcome, String> {
        let len = (self.dirty.end - self.dirty.start) as usize;
        self.bytes(CODE_AT + self.dirty.start, &vec![0xcc; len]);
        let at = case.offset();
        self.bytes(CODE_AT + at, &case.bytes);
        self.dirty = at..at + case.bytes.len() as u64;
        self.bytes(DATA_AT, &case.data);
        let mut state = self.template.clone();
        segments(&mut state, case.width);
        state.gpr = case.registers.gpr;
        state.rip = case.registers.rip;
        state.rflags = case.registers.rflags;
        state.fpu = case.registers.fpu.clone();
        let failed = |error: engine::EngineError| error.to_string();
        self.vcpu.set_state(&state).map_err(failed)?;
        match self.vcpu.run(Entry::Resume).map_err(failed)? {
            Exit::Halted => {}
            other => return Err(format!("{other:?}")),
        }
        let state = self.vcpu.state().map_err(failed)?;
        Ok(self.outcome(&state, case.data.len()))
    }

    fn outcome(&self, state: &CpuState, data_len: usize) -> Outcome {
        let vector = ((state.rip - 1 - HANDLERS) / 16) as u8;
        let with_code = WITH_CODE.contains(&vector);
        let stack = state.gpr[4];
        let ram = self.memory.ram();
        let pushed = |n: u64| -> u64 {
            let skip = u64::from(with_code);
            let at = GuestAddress(stack + (n + skip) * 8);
            ram.read_obj(at).expect("inside RAM")
        };
        let mut gpr = state.gpr;
        gpr[4] = pushed(3);
        let mut data = vec![0; data_len];
        ram.read_slice(&mut data, GuestAddress(DATA_AT))
            .expect("inside RAM");
        Outcome {
            registers: Registers {
                gpr,
                rip: pushed(0),
                rflags: pushed(2),
                fpu: state.fpu.clone(),
            },
            vector,
            error_code: if with_code {
                ram.read_obj(GuestAddress(stack)).expect("inside RAM")
            } else {
                0
            },
            cr2: state.cr2,
            data,
        }
    }
}

/// Code and data segments; FS and GS stay null.
fn segments(state: &mut CpuState, width: Width) {
    let data = match width {
        Width::Bits64 => return,
        Width::Bits32 => flat(0x2b, 0xc0f3),
        Width::Bits16 => Segment {
            base: WINDOW,
            limit: WINDOW_PAGES as u32 * 0x1000 - 1,
            ..flat(LDT_DATA, 0xf3)
        },
    };
    let code = match width {
        Width::Bits16 => Segment {
            base: CODE,
            limit: CODE_PAGES as u32 * 0x1000 - 1,
            ..flat(LDT_CODE, 0xfb)
        },
        _ => flat(0x23, 0xc0fb),
    };
    [state.segments[0], state.segments[2], state.segments[3]] = [data; 3];
    state.segments[1] = code;
}

/// A segment of 4 GiB.
fn flat(selector: u16, rights: u16) -> Segment {
    Segment {
        selector,
        base: 0,
        limit: !0,
        rights,
        unusable: false,
    }
}

fn template() -> CpuState {
    let mut state = CpuState::at_reset();
    let null = Segment {
        unusable: true,
        ..Segment::default()
    };
    state.segments = [null; 6];
    state.segments[1] = flat(0x33, 0xa0fb);
    state.segments[2] = flat(0x2b, 0xc0f3);
    state.tr = Segment {
        selector: 0x40,
        base: TSS,
        limit: 0x67,
        rights: 0x8b,
        unusable: false,
    };
    state.gdtr = DescriptorTable {
        base: GDT,
        limit: 0x7f,
    };
    state.idtr = DescriptorTable {
        base: IDT,
        limit: 0xfff,
    };
    state.cr0 = cr0::PE | cr0::PG | cr0::ET | cr0::NE | cr0::WP | cr0::AM | cr0::MP;
    state.cr3 = TABLES;
    state.cr4 = cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::OSXSAVE | cr4::FSGSBASE | cr4::UMIP;
    state.efer = efer::LME | efer::LMA | efer::NXE | efer::SCE;
    state.xcr0 = xcr0::X87 | xcr0::SSE | xcr0::AVX;
    state.fpu = Fpu::default();
    state
}
