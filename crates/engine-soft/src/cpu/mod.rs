//! A software vCPU's registers, laid out for the interpreter.
//!
//! Status flags live apart from RFLAGS, in the form that the host's own LAHF and SETO leave in AX:
//! every arithmetic instruction of the guest is the host's same instruction, and its flags,
//! undefined ones included, are whatever the silicon made them. Rejected: lazy flags (operands and
//! result kept, each flag computed on demand), which cost the same and never match undefined flags.

pub(crate) mod convert;
pub(crate) mod features;

use std::sync::Arc;

use engine::Exit;
use memory::{Bell, GuestMemory};
use x86::cpuid::CpuidTable;
use x86::register::{cr0, cr4, efer, rflags};
use x86::{DescriptorTable, Events, Exception, Fpu, Segment, SegmentRegister};

use self::features::Features;
use crate::interp::op::Stop;
use crate::interp::vector::available::Available;
use crate::mmu::Mmu;
use crate::msrs::Msrs;
use crate::replay::Replay;
use crate::translate::native::Native;
use crate::tsc::SharedTsc;

/// Register-file slot that always holds zero: the base or index of an address that has none.
pub(crate) const ZERO_SLOT: u8 = 16;
/// Register-file slot with the linear RIP of the running block, for RIP-relative addresses.
pub(crate) const RIP_SLOT: u8 = 17;

/// Index into `segment_bases` that is always zero: 64-bit mode's flat segments.
pub(crate) const FLAT: u8 = 6;

/// Bits of `Cpu::attention`: why the run loop may not simply go on to the next block.
pub(crate) mod attention {
    /// The machine wants an interrupt window.
    pub(crate) const WINDOW: u32 = 1 << 0;
    pub(crate) const NMI: u32 = 1 << 1;
    /// Interrupts are held off for the next instruction.
    pub(crate) const SHADOW: u32 = 1 << 2;
    /// TF is set: #DB after the next instruction.
    pub(crate) const TRAP: u32 = 1 << 3;
    /// DR7 enables an instruction breakpoint.
    pub(crate) const BREAKPOINT: u32 = 1 << 4;
    /// A data breakpoint hit, or another #DB condition: bits wait in `debug_pending`.
    pub(crate) const DEBUG: u32 = 1 << 5;
}

/// Width of code: what CS.L and CS.D say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum CodeSize {
    Bits16 = 0,
    Bits32 = 1,
    Bits64 = 2,
}

#[derive(Debug)]
#[repr(C)]
pub(crate) struct Cpu {
    /// General registers in encoding order, then [`ZERO_SLOT`] and [`RIP_SLOT`].
    pub(crate) gpr: [u64; 18],
    /// Linear-offset instruction pointer. While a block runs it is the address after the block.
    pub(crate) rip: u64,
    /// Status flags as AX after `lahf; seto al`.
    pub(crate) status: u16,
    pub(crate) code_size: CodeSize,
    pub(crate) cpl: u8,
    /// Ops of the running block that may still run, counted from its start; 0 stops it after this op.
    pub(crate) limit: u32,
    /// RFLAGS without the status flags.
    pub(crate) rflags: u64,
    /// Mask of the stack pointer's bits in use: 16, 32 or 64 of them.
    pub(crate) stack_mask: u64,
    /// Mask of the instruction pointer's bits in use.
    pub(crate) ip_mask: u64,
    /// Base of each segment in the order of [`SegmentRegister`], then [`FLAT`].
    pub(crate) segment_bases: [u64; 7],
    /// A bit for each segment, by index, whose every byte of 4 GiB may be read and written.
    pub(crate) open_segments: u8,
    /// 32-bit protected mode over segments that begin at zero and end nowhere: what linear addresses
    /// and offsets being the same takes, FS and GS left aside.
    pub(crate) flat: bool,
    pub(crate) attention: u32,
    pub(crate) mmu: Mmu,
    pub(crate) segments: [Segment; 6],
    pub(crate) ldtr: Segment,
    pub(crate) tr: Segment,
    pub(crate) gdtr: DescriptorTable,
    pub(crate) idtr: DescriptorTable,
    pub(crate) cr0: u64,
    pub(crate) cr2: u64,
    pub(crate) cr3: u64,
    pub(crate) cr4: u64,
    /// DR0-DR3, DR6, DR7.
    pub(crate) dr: [u64; 6],
    pub(crate) efer: u64,
    pub(crate) xcr0: u64,
    pub(crate) pkru: u32,
    pub(crate) fpu: Fpu,
    pub(crate) msrs: Msrs,
    pub(crate) events: Events,
    /// Besides the NMI that `attention` tells of one more, for after the first one's handler. Saved
    /// states do not know of it: then the two have come at once, and are one.
    pub(crate) second_nmi: bool,
    /// An exception or interrupt was delivered since the block began: the instruction was not
    /// single-stepped, the handler's first one will not be.
    pub(crate) delivered: bool,
    /// The interrupt shadow is MOV SS's or POP SS's, which holds off debug traps too.
    pub(crate) shadow_by_ss: bool,
    /// DR6 bits of a debug trap to raise after the instruction.
    pub(crate) debug_pending: u64,
    /// The fault behind [`Stop::Fault`].
    pub(crate) fault: Exception,
    /// The exit behind [`Stop::Exit`].
    pub(crate) exit: Option<Exit>,
    pub(crate) replay: Replay,
    /// Elements of a string of port I/O that one exit is for, where the machine takes such exits.
    pub(crate) string: Vec<u8>,
    pub(crate) takes_strings: bool,
    pub(crate) instructions: u64,
    /// PAUSEs, counted to give way now and then.
    pub(crate) pauses: u32,
    pub(crate) cpuid: CpuidTable,
    pub(crate) features: Features,
    pub(crate) available: Available,
    pub(crate) memory: GuestMemory,
    /// Rings for kicks and for news of memory.
    pub(crate) bell: Arc<Bell>,
    /// What the guest's vCPUs agree on.
    pub(crate) shared_tsc: SharedTsc,
    /// What translated code works with.
    pub(crate) native: Native,
    /// IA32_APIC_BASE's enable bit. The machine has the APIC; CPUID tells whether it is on.
    pub(crate) apic_enabled: bool,
    /// Initial APIC id.
    pub(crate) id: u32,
}

impl Cpu {
    /// RFLAGS as the guest sees it.
    pub(crate) fn read_rflags(&self) -> u64 {
        let status = u64::from(self.status);
        self.rflags | (status >> 8 & 0xd5) | (status & 1) << 11 | rflags::FIXED
    }

    /// Replaces all of RFLAGS. Reserved bits are the caller's business.
    pub(crate) fn write_rflags(&mut self, value: u64) {
        let mask_changed = (self.rflags ^ value) & (rflags::AC | rflags::VM) != 0;
        self.status = ((value & 0xd5) << 8) as u16 | 0x200 | (value >> 11 & 1) as u16;
        self.rflags = value & !rflags::STATUS | rflags::FIXED;
        self.set_attention(attention::TRAP, value & rflags::TF != 0);
        if mask_changed {
            self.update_modes();
        }
    }

    pub(crate) fn set_attention(&mut self, bit: u32, on: bool) {
        if on {
            self.attention |= bit;
        } else {
            self.attention &= !bit;
        }
    }

    /// Sets carry and leaves the other status flags.
    pub(crate) fn set_carry(&mut self, carry: bool) {
        self.status = self.status & !0x100 | u16::from(carry) << 8;
    }

    /// Sets zero and leaves the other status flags.
    pub(crate) fn set_zero(&mut self, zero: bool) {
        self.status = self.status & !0x4000 | u16::from(zero) << 14;
    }

    pub(crate) fn protected(&self) -> bool {
        self.cr0 & cr0::PE != 0
    }

    pub(crate) fn virtual_8086(&self) -> bool {
        self.rflags & rflags::VM != 0
    }

    /// Protected mode and not virtual-8086: selectors name descriptors.
    pub(crate) fn uses_descriptors(&self) -> bool {
        self.protected() && !self.virtual_8086()
    }

    pub(crate) fn long_mode(&self) -> bool {
        self.efer & efer::LMA != 0
    }

    pub(crate) fn iopl(&self) -> u8 {
        (self.rflags >> 12 & 3) as u8
    }

    pub(crate) fn segment(&self, register: SegmentRegister) -> &Segment {
        &self.segments[register as usize]
    }

    /// Loads a segment register's hidden part as is, and everything that follows from it.
    pub(crate) fn put_segment(&mut self, register: SegmentRegister, segment: Segment) {
        self.segments[register as usize] = segment;
        self.segment_bases[register as usize] = segment.base;
        if matches!(register, SegmentRegister::Cs | SegmentRegister::Ss) {
            self.update_modes();
        } else {
            self.update_flat();
        }
    }

    /// Loads a segment register's hidden part, and leaves what follows from it to a load of CS.
    pub(crate) fn put_segment_early(&mut self, register: SegmentRegister, segment: Segment) {
        self.segments[register as usize] = segment;
        self.segment_bases[register as usize] = segment.base;
    }

    /// Recomputes what is derived from the segments' limits and rights. Only 32-bit code asks, which
    /// begins with a load of CS.
    fn update_flat(&mut self) {
        if self.code_size == CodeSize::Bits64 {
            self.flat = false;
            return;
        }
        let is_open = |segment: &Segment| {
            !segment.unusable
                && !segment.has(Segment::CODE)
                && segment.has(Segment::WRITABLE)
                && !segment.has(Segment::EXPAND_DOWN)
                && segment.limit == u32::MAX
        };
        let open = self.segments.iter().map(is_open).enumerate();
        self.open_segments = open.fold(0, |bits, (n, open)| bits | u8::from(open) << n);
        const ES_SS_DS: u8 = 0b1101;
        self.flat = self.code_size == CodeSize::Bits32
            && self.uses_descriptors()
            && self.open_segments & ES_SS_DS == ES_SS_DS
            && self.segment_bases[..4] == [0; 4]
            && self.segments[SegmentRegister::Cs as usize].limit == u32::MAX
            && self.stack_mask == 0xffff_ffff;
    }

    /// Recomputes what is derived from CS, SS, CPL, RFLAGS.AC, CR0, CR4 and EFER.
    pub(crate) fn update_modes(&mut self) {
        let cs = self.segments[SegmentRegister::Cs as usize];
        self.code_size = if self.long_mode() && cs.has(Segment::LONG) {
            CodeSize::Bits64
        } else if cs.has(Segment::BIG) && self.uses_descriptors() {
            CodeSize::Bits32
        } else if cs.has(Segment::BIG) && !self.protected() {
            // "Unreal" code: the D bit outlives the switch back to real mode until CS is loaded.
            CodeSize::Bits32
        } else {
            CodeSize::Bits16
        };
        self.ip_mask = match self.code_size {
            CodeSize::Bits16 => 0xffff_ffff,
            CodeSize::Bits32 => 0xffff_ffff,
            CodeSize::Bits64 => u64::MAX,
        };
        let ss = self.segments[SegmentRegister::Ss as usize];
        self.stack_mask = match self.code_size {
            CodeSize::Bits64 => u64::MAX,
            _ if ss.has(Segment::BIG) => 0xffff_ffff,
            _ => 0xffff,
        };
        self.update_flat();
        self.choose_access();
    }

    /// Chooses how the MMU treats accesses, from CPL, RFLAGS.AC, CR0.AM and CR4.SMAP.
    pub(crate) fn choose_access(&mut self) {
        let user = self.cpl == 3;
        let ac = self.rflags & rflags::AC != 0;
        self.mmu.select(user, self.cr4 & cr4::SMAP != 0, ac);
        if user && ac && self.cr0 & cr0::AM != 0 {
            self.mmu.select_checked();
        }
    }

    /// Changes the rights of protection keys. TLB entries hold what the old ones allowed; but most guests
    /// change only those of keys that no page has.
    pub(crate) fn set_pkru(&mut self, pkru: u32) {
        const KEY_0: u32 = 3;
        let changed = std::mem::replace(&mut self.pkru, pkru) ^ pkru;
        if changed & KEY_0 != 0 || changed != 0 && self.mmu.keys_seen {
            self.mmu.flush_data();
        }
    }

    /// Stops the running instruction with this exception.
    pub(crate) fn raise<T>(&mut self, exception: Exception) -> Result<T, Stop> {
        self.fault = exception;
        Err(Stop::Fault)
    }

    /// #GP(code).
    pub(crate) fn gp<T>(&mut self, code: u16) -> Result<T, Stop> {
        self.raise(Exception::gp(u32::from(code)))
    }

    /// #UD.
    pub(crate) fn ud<T>(&mut self) -> Result<T, Stop> {
        self.raise(Exception::plain(x86::exception::vector::UD))
    }

    /// Is `address` canonical (48-bit linear addresses)?
    pub(crate) fn canonical(address: u64) -> bool {
        let top = (address as i64) >> 47;
        top == 0 || top == -1
    }
}
