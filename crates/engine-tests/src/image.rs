//! The small guest that tests run in: where its tables lie, and the state it starts with.
//!
//! All of it is identity-mapped and flat. Every interrupt vector has a stub that tells the bench its
//! number through port [`TRAP_PORT`] and then returns, dropping an error code if there was one.

use std::io;

use memory::GuestMemory;
use vm_memory::{Bytes, GuestAddress};
use x86::exception::vector;
use x86::register::{cr0, cr4, efer, gpr, rflags};
use x86::{CpuState, DescriptorTable, Segment, SegmentRegister};

/// RAM of the guest, from address 0, in bytes.
pub(crate) const RAM: u64 = 0x20_0000;
const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const PD_LOW: u64 = 0x3000;
/// 512 entries of 4 KiB: tests change single ones.
pub(crate) const PT: u64 = 0x4000;
const PD_MMIO: u64 = 0x5000;
pub(crate) const GDT: u64 = 0x6000;
pub(crate) const TSS: u64 = 0x6400;
const IDT: u64 = 0x7000;
/// Where the guest's code starts.
pub const CODE: u64 = 0x8000;
const STUBS: u64 = 0xa000;
const STUB_LEN: u64 = 32;
/// Top of the ring-0 stack.
pub const STACK: u64 = 0x1_0000;
/// Room for data.
pub const DATA: u64 = 0x2_0000;
/// No RAM here: accesses are the machine's. Mapped in long mode.
pub(crate) const MMIO: u64 = 0xd000_0000;

/// A write here ends a test.
pub(crate) const END_PORT: u8 = 0xf4;
/// Interrupt stubs write their vector here.
pub(crate) const TRAP_PORT: u8 = 0xf5;

/// Selectors of the guest's GDT.
pub(crate) mod selector {
    pub(crate) const CODE_64: u16 = 0x08;
    pub(crate) const DATA: u16 = 0x10;
    pub(crate) const CODE_32: u16 = 0x18;
    pub(crate) const USER_DATA: u16 = 0x20 | 3;
    pub(crate) const USER_CODE_64: u16 = 0x28 | 3;
    pub(crate) const TSS: u16 = 0x38;
}

/// The processor mode a guest starts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// 16-bit real mode, all segments 0.
    Real16,
    /// 32-bit protected mode, flat, without paging.
    Protected32,
    /// 64-bit long mode, flat, identity-mapped.
    Long64,
}

impl Mode {
    pub(crate) fn bits(self) -> u32 {
        match self {
            Mode::Real16 => 16,
            Mode::Protected32 => 32,
            Mode::Long64 => 64,
        }
    }
}

/// Code and the mode it runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub mode: Mode,
    pub code: Vec<u8>,
}

const PRESENT_WRITABLE_USER: u64 = 7;
const LARGE: u64 = 1 << 7;

fn descriptors() -> [u64; 9] {
    let tss = TSS << 16 & 0xff_ffff_0000 | (TSS >> 24) << 56 | 0x0000_8b00_0000_0067;
    [
        0,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_9b00_0000_ffff,
        0x00cf_f300_0000_ffff,
        0x00af_fb00_0000_ffff,
        0x00cf_fb00_0000_ffff,
        tss,
        0,
    ]
}

fn has_error_code(number: u8) -> bool {
    matches!(
        number,
        vector::DF | vector::TS | vector::NP | vector::SS | vector::GP | vector::PF | vector::AC
    )
}

impl Image {
    /// Puts tables, stubs and code where they belong.
    ///
    /// # Errors
    /// When the memory is smaller than the guest needs.
    pub fn load(&self, memory: &GuestMemory) -> io::Result<()> {
        let write = |at: u64, bytes: &[u8]| {
            memory
                .ram()
                .write_slice(bytes, GuestAddress(at))
                .map_err(io::Error::other)
        };
        let entry = |at: u64, value: u64| write(at, &value.to_le_bytes());
        entry(PML4, PDPT | PRESENT_WRITABLE_USER)?;
        entry(PDPT, PD_LOW | PRESENT_WRITABLE_USER)?;
        entry(PDPT + 3 * 8, PD_MMIO | PRESENT_WRITABLE_USER)?;
        entry(PD_LOW, PT | PRESENT_WRITABLE_USER)?;
        for page in 0..512 {
            entry(PT + page * 8, page << 12 | PRESENT_WRITABLE_USER)?;
            let mmio = 0xc000_0000 + (page << 21);
            entry(PD_MMIO + page * 8, mmio | LARGE | PRESENT_WRITABLE_USER)?;
        }
        for (index, descriptor) in (0..).zip(descriptors()) {
            entry(GDT + index * 8, descriptor)?;
        }
        // Ring 0's stack, for interrupts out of ring 3: at 4 for 32 bits, with SS0 at 8.
        match self.mode {
            Mode::Long64 => entry(TSS + 4, STACK)?,
            _ => entry(TSS + 4, STACK | u64::from(selector::DATA) << 32)?,
        }
        // The I/O permission bitmap begins beyond the limit: there is none.
        write(TSS + 0x66, &0x68u16.to_le_bytes())?;
        for number in 0..=255 {
            let stub = STUBS + u64::from(number) * STUB_LEN;
            write(stub, &self.stub(number))?;
            self.write_gate(number, stub, &write)?;
        }
        write(CODE, &self.code)
    }

    fn write_gate(
        &self,
        number: u8,
        stub: u64,
        write: &dyn Fn(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let at = u64::from(number);
        // INT3 and INTO may be used in ring 3, and so may INT 80h.
        let dpl: u64 = if matches!(number, vector::BP | vector::OF | 0x80) {
            3
        } else {
            0
        };
        let gate = |code: u16| stub & 0xffff | u64::from(code) << 16 | (0x8e00 | dpl << 13) << 32;
        match self.mode {
            Mode::Real16 => write(at * 4, &(stub & 0xffff).to_le_bytes()[..4]),
            Mode::Protected32 => write(IDT + at * 8, &gate(selector::CODE_32).to_le_bytes()),
            Mode::Long64 => {
                write(IDT + at * 16, &gate(selector::CODE_64).to_le_bytes())?;
                write(IDT + at * 16 + 8, &0u64.to_le_bytes())
            }
        }
    }

    /// push rAX; mov al, vector; out TRAP_PORT, al; pop rAX; drop the error code; iret
    fn stub(&self, number: u8) -> Vec<u8> {
        let mut stub = vec![0x50, 0xb0, number, 0xe6, TRAP_PORT, 0x58];
        let error_code = has_error_code(number);
        match self.mode {
            Mode::Real16 => stub.push(0xcf),
            Mode::Protected32 => {
                if error_code {
                    stub.extend([0x83, 0xc4, 4]);
                }
                stub.push(0xcf);
            }
            Mode::Long64 => {
                if error_code {
                    stub.extend([0x48, 0x83, 0xc4, 8]);
                }
                stub.extend([0x48, 0xcf]);
            }
        }
        stub
    }

    /// The state in which the code starts, interrupts off.
    #[must_use]
    pub fn state(&self) -> CpuState {
        let mut state = CpuState::at_reset();
        state.rip = CODE;
        state.rflags = rflags::FIXED;
        state.gpr[gpr::RSP] = STACK;
        state.fpu.control = 0x37f;
        state.cr0 = cr0::ET;
        let segment = |selector: u16| {
            let raw = descriptors()[usize::from(selector >> 3)];
            Segment::from_descriptor(selector, raw)
        };
        let code = SegmentRegister::Cs as usize;
        if self.mode == Mode::Real16 {
            state.segments = [Segment::real(0); 6];
            state.segments[code].rights |= Segment::CODE;
            state.idtr = DescriptorTable {
                base: 0,
                limit: 0x3ff,
            };
            return state;
        }
        state.cr0 |= cr0::PE | cr0::NE | cr0::MP;
        state.cr4 = cr4::OSFXSR | cr4::OSXMMEXCPT;
        state.segments = [segment(selector::DATA); 6];
        state.segments[code] = segment(selector::CODE_32);
        state.tr = segment(selector::TSS);
        state.gdtr = DescriptorTable {
            base: GDT,
            limit: 9 * 8 - 1,
        };
        state.idtr = DescriptorTable {
            base: IDT,
            limit: 256 * 8 - 1,
        };
        if self.mode == Mode::Long64 {
            state.segments[code] = segment(selector::CODE_64);
            state.idtr.limit = 256 * 16 - 1;
            state.cr0 |= cr0::PG | cr0::WP;
            state.cr3 = PML4;
            state.cr4 |= cr4::PAE;
            state.efer = efer::LME | efer::LMA | efer::SCE | efer::NXE;
        }
        state
    }
}
