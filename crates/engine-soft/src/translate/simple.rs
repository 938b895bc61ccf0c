//! Instructions that become themselves: the same instruction with its registers renamed and its
//! memory operand pointed at the host's.

use iced_x86::{
    Code, EncodingKind, Instruction, Mnemonic, OpAccess, OpCodeOperandKind, OpKind, Register,
};

use super::assembler::Assembler;
use super::cold::Miss;
use super::emitter::{Emitter, Refused};
use super::facts::{Access, Facts, is};
use super::flags::Doing;
use super::high_bytes::is_plain_move;
use super::native;
use super::reached::{Address, Place, Reached};
use super::recipe::{Recipe, STATUS};
use super::registers::{GUEST_RAX, Number, R13, RAX, host_of, is_high_byte, number, sized, wide};
use super::undefined_raw;
use crate::cpu::CodeSize;
use crate::interp::op::{Op, address_bytes, segment_index};
use crate::interp::vector::rules;

/// How far from a register an access may be reached by it: there and back in 32 bits.
const FARTHEST: u64 = 1 << 30;

/// Index of the segment register.
const CS: u8 = 1;

/// May this instruction become itself? Everything that only computes; nothing that can fault but by
/// its memory operand, and nothing that the mode of translation does not settle.
pub(super) fn is_simple(insn: &Instruction) -> bool {
    is_integer(insn) || is_vector(insn)
}

fn is_integer(insn: &Instruction) -> bool {
    use Mnemonic as M;
    let bit_string = insn.op0_kind() == OpKind::Memory && insn.op1_kind() == OpKind::Register;
    match insn.mnemonic() {
        M::Mov => {
            (0..2).all(|n| insn.op_kind(n) != OpKind::Register || insn.op_register(n).is_gpr())
        }
        M::Bt | M::Bts | M::Btr | M::Btc => !bit_string,
        M::Movzx
        | M::Movsx
        | M::Movsxd
        | M::Lea
        | M::Add
        | M::Adc
        | M::Sub
        | M::Sbb
        | M::And
        | M::Or
        | M::Xor
        | M::Cmp
        | M::Test
        | M::Inc
        | M::Dec
        | M::Neg
        | M::Not
        | M::Shl
        | M::Sal
        | M::Shr
        | M::Sar
        | M::Rol
        | M::Ror
        | M::Rcl
        | M::Rcr
        | M::Shld
        | M::Shrd
        | M::Mul
        | M::Imul
        | M::Bswap
        | M::Bsf
        | M::Bsr
        | M::Tzcnt
        | M::Lzcnt
        | M::Popcnt
        | M::Xchg
        | M::Xadd
        | M::Cmpxchg
        | M::Cmpxchg8b
        | M::Cmpxchg16b
        | M::Cbw
        | M::Cwde
        | M::Cdqe
        | M::Cwd
        | M::Cdq
        | M::Cqo
        | M::Andn
        | M::Bextr
        | M::Blsi
        | M::Blsr
        | M::Blsmsk
        | M::Bzhi
        | M::Mulx
        | M::Pdep
        | M::Pext
        | M::Rorx
        | M::Sarx
        | M::Shlx
        | M::Shrx
        | M::Adcx
        | M::Adox
        | M::Movbe
        | M::Crc32
        | M::Clc
        | M::Stc
        | M::Cmc
        | M::Lfence
        | M::Sfence
        | M::Mfence => true,
        _ => is_conditional(insn),
    }
}

/// SETcc and CMOVcc.
fn is_conditional(insn: &Instruction) -> bool {
    insn.condition_code() != iced_x86::ConditionCode::None
        && !insn.is_jcc_short_or_near()
        && !insn.is_loop()
        && !insn.is_loopcc()
}

/// Does the instruction work on XMM or YMM registers, and on at most one memory operand in place?
pub(super) fn is_vector(insn: &Instruction) -> bool {
    use Mnemonic as M;
    let registers = (0..insn.op_count())
        .filter(|&n| insn.op_kind(n) == OpKind::Register)
        .map(|n| insn.op_register(n));
    let mut has_vector = matches!(insn.mnemonic(), M::Vzeroupper | M::Vzeroall);
    for register in registers {
        if register.is_mm() || !(register.is_xmm() || register.is_ymm() || register.is_gpr()) {
            return false;
        }
        has_vector |= register.is_xmm() || register.is_ymm();
    }
    let element_faults = matches!(
        insn.mnemonic(),
        M::Maskmovdqu
            | M::Vmaskmovdqu
            | M::Vmaskmovps
            | M::Vmaskmovpd
            | M::Vpmaskmovd
            | M::Vpmaskmovq
    );
    // Outside 64-bit mode they spare half of the registers.
    let spares = matches!(insn.mnemonic(), M::Vzeroupper | M::Vzeroall)
        && insn.code_size() != iced_x86::CodeSize::Code64;
    // LDMXCSR has a translation of its own.
    has_vector |= matches!(insn.mnemonic(), M::Stmxcsr | M::Vstmxcsr);
    has_vector
        && !element_faults
        && !spares
        && !insn.is_vsib()
        && matches!(insn.encoding(), EncodingKind::Legacy | EncodingKind::VEX)
}

/// The plan of one instruction: which scratch register does what.
struct Plan {
    memory: Option<Access>,
    /// Runs with the guest's RAX in RAX.
    through_rax: bool,
    writes_rax: bool,
    /// EFLAGS must hold the guest's flags before.
    needs_flags: bool,
    residents: Residents,
}

/// They are so few, and needed for so short a time, that memory for them would cost more than they do.
#[derive(Default)]
struct Residents {
    all: [Resident; 4],
    count: usize,
}

impl Residents {
    /// The one that stands for `guest`.
    fn of(&mut self, guest: Number) -> Option<&mut Resident> {
        let known = self.iter().position(|resident| resident.guest == guest);
        let index = known.unwrap_or(self.count);
        if known.is_none() {
            *self.all.get_mut(index)? = Resident {
                guest,
                ..Resident::default()
            };
            self.count += 1;
        }
        self.all.get_mut(index)
    }

    fn iter(&self) -> impl Iterator<Item = &Resident> {
        self.all[..self.count].iter()
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Resident> {
        self.all[..self.count].iter_mut()
    }
}

/// An operand whose guest register stays in memory, and the scratch that stands for it.
#[derive(Default, Clone, Copy)]
struct Resident {
    guest: Number,
    scratch: Number,
    read: bool,
    write: bool,
}

pub(super) fn writes(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

pub(super) fn has_memory(insn: &Instruction) -> bool {
    (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory)
}

/// Does it use RAX by its form? AH as an operand is not looked at.
pub(super) fn uses_rax(insn: &Instruction) -> bool {
    use OpCodeOperandKind as K;
    let implied = match insn.mnemonic() {
        Mnemonic::Mul
        | Mnemonic::Cbw
        | Mnemonic::Cwde
        | Mnemonic::Cdqe
        | Mnemonic::Cwd
        | Mnemonic::Cdq
        | Mnemonic::Cqo
        | Mnemonic::Cmpxchg
        | Mnemonic::Cmpxchg8b
        | Mnemonic::Cmpxchg16b
        | Mnemonic::Pcmpestri
        | Mnemonic::Pcmpestri64
        | Mnemonic::Pcmpestrm
        | Mnemonic::Pcmpestrm64
        | Mnemonic::Vpcmpestri
        | Mnemonic::Vpcmpestri64
        | Mnemonic::Vpcmpestrm
        | Mnemonic::Vpcmpestrm64 => true,
        Mnemonic::Imul => insn.op_count() == 1,
        _ => false,
    };
    let code = insn.op_code();
    implied
        || (0..insn.op_count()).any(|n| matches!(code.op_kind(n), K::al | K::ax | K::eax | K::rax))
}

/// Must the flags of before be in EFLAGS? When they are read, or when some survive the instruction.
pub(super) fn needs_flags(insn: &Instruction) -> bool {
    let modified = insn.rflags_modified() & STATUS;
    // What these leave undefined does not depend on what was there before.
    let fresh = matches!(
        insn.mnemonic(),
        Mnemonic::And
            | Mnemonic::Or
            | Mnemonic::Xor
            | Mnemonic::Test
            | Mnemonic::Mul
            | Mnemonic::Imul
            | Mnemonic::Popcnt
            | Mnemonic::Tzcnt
            | Mnemonic::Lzcnt
            | Mnemonic::Andn
            | Mnemonic::Blsi
            | Mnemonic::Blsr
            | Mnemonic::Blsmsk
            | Mnemonic::Bzhi
            | Mnemonic::Bextr
    );
    if is_constant_shift(insn) {
        return false;
    }
    undefined_raw::keeps(insn.mnemonic())
        || insn.rflags_read() & STATUS != 0
        || modified != 0 && modified != STATUS
        || insn.rflags_undefined() & STATUS != 0 && !fresh
        || shifts(insn)
}

/// Is it a shift or rotation? What those do to flags depends on by how much.
pub(super) fn shifts(insn: &Instruction) -> bool {
    matches!(
        insn.mnemonic(),
        Mnemonic::Shl
            | Mnemonic::Sal
            | Mnemonic::Shr
            | Mnemonic::Sar
            | Mnemonic::Rol
            | Mnemonic::Ror
            | Mnemonic::Rcl
            | Mnemonic::Rcr
            | Mnemonic::Shld
            | Mnemonic::Shrd
    )
}

/// Does it write any status flag?
pub(super) fn writes_flags(insn: &Instruction) -> bool {
    // All the way round counts for nothing with iced, but some processors change OF.
    insn.rflags_modified() & STATUS != 0 || matches!(insn.mnemonic(), Mnemonic::Rcl | Mnemonic::Rcr)
}

/// Does it write all status flags, whatever they were?
pub(super) fn replaces_flags(insn: &Instruction) -> bool {
    insn.rflags_modified() & STATUS == STATUS && !needs_flags(insn)
}

/// What the address of an operand of `size` bytes must be a multiple of.
pub(super) fn alignment(insn: &Instruction, size: u32) -> u32 {
    let aligned =
        insn.mnemonic() == Mnemonic::Cmpxchg16b || rules::must_be_aligned(insn, size as u8);
    if aligned { size } else { 1 }
}

/// What an instruction that [`is_simple`] does, beside the registers that it writes.
pub(super) fn doing(insn: &Instruction, facts: &Facts) -> Doing {
    Doing {
        writes: facts.writes,
        replaces_flags: facts.any(is::REPLACES_FLAGS),
        wants_flags: facts.any(is::NEEDS_FLAGS) && !facts.any(is::HAS_MEMORY),
        steps: Recipe::after_step(insn).is_some(),
        flags_die: false,
    }
}

/// Is it a shift by a constant other than zero? As the silicon goes, its flags do not depend on what
/// they were.
fn is_constant_shift(insn: &Instruction) -> bool {
    let kind = matches!(
        insn.mnemonic(),
        Mnemonic::Shl | Mnemonic::Sal | Mnemonic::Shr | Mnemonic::Sar
    );
    kind && insn.op1_kind() == OpKind::Immediate8 && insn.immediate8() & 31 != 0
}

/// What reaching the memory operand takes of the scratches.
#[derive(Debug, Clone, Copy)]
enum Reach {
    /// Nothing: there is none.
    Free,
    /// An address check; one of them is the pointer then.
    Checked,
    /// Those that hold its pointer, or what that follows.
    By { rax: bool, r13: bool },
}

impl Reach {
    fn of(reached: Reached) -> Reach {
        Reach::By {
            rax: reached.index().is_some_and(|(index, _)| index == RAX),
            r13: reached.pointer() == R13,
        }
    }
}

impl Plan {
    fn new(insn: &Instruction, facts: &Facts, way: Reach) -> Result<Plan, Refused> {
        let memory = facts.access;
        if memory.is_none() && facts.any(is::HAS_MEMORY) {
            return Err(Refused);
        }
        let mut plan = Plan {
            memory,
            through_rax: facts.any(is::THROUGH_RAX),
            writes_rax: facts.any(is::THROUGH_RAX) && facts.writes & 1 != 0,
            needs_flags: facts.any(is::NEEDS_FLAGS),
            residents: Residents::default(),
        };
        for n in 0..insn.op_count() {
            if insn.op_kind(n) != OpKind::Register || !insn.op_register(n).is_gpr() {
                continue;
            }
            let register = insn.op_register(n);
            let guest = number(register);
            if host_of(guest).is_some() {
                continue;
            }
            let resident = plan.residents.of(guest).ok_or(Refused)?;
            resident.read |= facts.reads_operand(n) || register.size() < 4;
            resident.write |= facts.writes_operand(n);
        }
        plan.assign(way)?;
        Ok(plan)
    }

    /// Gives each resident a scratch. Some of those the access may need.
    fn assign(&mut self, reach: Reach) -> Result<(), Refused> {
        let mut free: &[Number] = match reach {
            Reach::Free if self.through_rax => &[R13],
            Reach::Free => &[R13, RAX],
            Reach::Checked if self.through_rax => &[],
            Reach::Checked if self.needs_flags => &[RAX],
            Reach::Checked => &[R13],
            Reach::By { rax: true, .. } if self.through_rax => return Err(Refused),
            Reach::By { rax, r13 } => match (rax || self.through_rax, r13) {
                (false, false) => &[R13, RAX],
                (true, false) => &[R13],
                (false, true) => &[RAX],
                (true, true) => &[],
            },
        };
        let mut next = || {
            let (first, rest) = free.split_first()?;
            free = rest;
            Some(*first)
        };
        for resident in self.residents.iter_mut().filter(|r| r.read) {
            resident.scratch = next().ok_or(Refused)?;
        }
        // What is only written may take the place of the pointer, which has been used by then.
        let mut pointer = match reach {
            Reach::Checked if !self.through_rax => Some(self.pointer()),
            Reach::By { r13: true, .. } => Some(R13),
            _ => None,
        };
        for resident in self.residents.iter_mut().filter(|r| !r.read) {
            resident.scratch = next().or_else(|| pointer.take()).ok_or(Refused)?;
        }
        Ok(())
    }

    /// Which scratch the memory operand's address ends up in.
    fn pointer(&self) -> Number {
        if self.needs_flags || self.through_rax {
            R13
        } else {
            RAX
        }
    }
}

impl Emitter<'_> {
    /// Translates an instruction that [`is_simple`].
    pub(super) fn simple(
        &mut self,
        insn: &Instruction,
        op: &Op,
        facts: &Facts,
    ) -> Result<(), Refused> {
        if facts.any(is::ADDRESS) {
            return self.lea(insn);
        }
        if let Some(recipe) = Recipe::after_step(insn) {
            return self.step(recipe);
        }
        if is_plain_move(insn) {
            return self.high_byte(insn, op);
        }
        let mut reached = self.reached;
        let mut apart = None;
        let plan = if let Some(reached) = reached {
            Plan::new(insn, facts, Reach::of(reached))?
        } else if let Some(access) = facts.access {
            let found = self.apart(insn).and_then(|address| {
                let plan = Plan::new(insn, facts, Reach::of(address.reached())).ok()?;
                Some((plan, address))
            });
            if let Some((plan, address)) = found {
                apart = Some((access, address));
                plan
            } else {
                Plan::new(insn, facts, Reach::Checked)?
            }
        } else {
            Plan::new(insn, facts, Reach::Free)?
        };
        let mut body = renamed(insn, &plan);
        let mut slow = Vec::new();
        if let Some((access, address)) = apart {
            slow = self.check_apart(insn, access, address)?;
            reached = Some(address.reached());
        } else if let Some(access) = plan.memory.filter(|_| reached.is_none()) {
            self.free_flags();
            self.address(insn)?;
            slow = self.translate(access.way, access.size.into(), access.align.into());
            self.asm.copy(plan.pointer(), RAX);
            Assembler::point_at(&mut body, plan.pointer(), 0);
        }
        if let Some(reached) = reached {
            Assembler::point_with(&mut body, reached.pointer(), reached.index(), reached.disp);
        }
        if plan.needs_flags {
            self.flags_to_host();
        }
        if plan.through_rax {
            self.asm.copy(RAX, GUEST_RAX);
        }
        if let Some(reached) = reached {
            self.load_reached(reached);
        }
        for resident in plan.residents.iter().filter(|r| r.read) {
            self.load_guest(resident.scratch, resident.guest);
        }
        self.asm.encode(&body)?;
        if plan.writes_rax {
            self.asm.copy(GUEST_RAX, RAX);
        }
        for resident in plan.residents.iter().filter(|r| r.write) {
            self.asm
                .store(native::gpr(resident.guest), resident.scratch);
        }
        if facts.any(is::WRITES_FLAGS) {
            let replaced = facts.any(is::REPLACES_FLAGS);
            self.flags_written(replaced.then(|| Recipe::after(insn)).flatten());
        }
        self.slow_way(slow, op);
        if facts.any(is::SETS_POINTER) {
            self.note_x87(insn, op)?;
        }
        Ok(())
    }

    fn lea(&mut self, insn: &Instruction) -> Result<(), Refused> {
        let to = insn.op0_register();
        if to.size() == 2 {
            return Err(Refused);
        }
        let guest = number(to);
        let host = host_of(guest).unwrap_or(RAX);
        let narrow = insn.op0_register().size() == 4;
        self.offset(insn, if narrow { sized(host, 4) } else { wide(host) })?;
        if host_of(guest).is_none() {
            self.asm.store(native::gpr(guest), host);
        }
        Ok(())
    }

    /// Linear address of the memory operand into RAX. Uses both scratches; flags must be in memory.
    /// Its access is to be translated before any other.
    pub(super) fn address(&mut self, insn: &Instruction) -> Result<(), Refused> {
        let segment = segment_index(insn.memory_segment());
        if self.frame.mode.code32 && segment == CS {
            return Err(Refused);
        }
        self.offset(insn, wide(RAX))?;
        if segment >= 4 {
            self.add_base(segment);
        }
        Ok(())
    }

    /// The address of the memory operand where it can be told from the registers alone.
    pub(super) fn apart(&self, insn: &Instruction) -> Option<Address> {
        let (base, index) = (insn.memory_base(), insn.memory_index());
        let whole = |register: Register| register == Register::None || register.is_gpr64();
        let flat = segment_index(insn.memory_segment()) < 4 && !self.frame.mode.code32;
        let disp = insn.memory_displacement64() as i64;
        if !flat || !whole(base) || !whole(index) || disp.unsigned_abs() > FARTHEST {
            return None;
        }
        let (base, follows) = match (base, index) {
            (Register::None, Register::None) => return None,
            // What was stored on the stack is loaded again soon, and processors are quick to find it by a pointer
            // and a constant.
            (Register::RSP | Register::RBP, Register::None) => (Some(number(base)), None),
            (base, Register::None) => (None, Some((number(base), 1))),
            (base, index) => {
                let follows = (number(index), insn.memory_index_scale());
                (base.is_gpr().then(|| number(base)), Some(follows))
            }
        };
        Some(Address {
            base,
            follows,
            disp,
        })
    }

    /// Checks the access of an instruction whose address is known [`Emitter::apart`]. It is reached as the address
    /// says then.
    pub(super) fn check_apart(
        &mut self,
        insn: &Instruction,
        access: Access,
        address: Address,
    ) -> Result<Vec<Miss>, Refused> {
        self.free_flags();
        self.address(insn)?;
        let access = (access.way, access.size.into(), access.align.into());
        Ok(self.translate_apart(access, Place::Scratch, address))
    }

    /// Offset of the memory operand into `to`. EFLAGS stay. Uses both scratches.
    pub(super) fn offset(&mut self, insn: &Instruction, to: Register) -> Result<(), Refused> {
        let base = insn.memory_base();
        let disp = insn.memory_displacement64() as i64;
        if self.frame.mode.code32 {
            if address_bytes(insn, CodeSize::Bits32) != 4 {
                return Err(Refused);
            }
            return self.sum(insn, sized(number(to), 4), i64::from(disp as i32));
        }
        if base == Register::RIP {
            let disp = i64::from(self.frame.unit).wrapping_add(disp);
            i32::try_from(disp).map_err(|_| Refused)?;
            self.asm.load(RAX, native::PAGE_BASE);
            return Ok(self.asm.lea(to, Some(RAX), None, disp)?);
        }
        if base == Register::EIP || i32::try_from(disp).is_err() {
            return Err(Refused);
        }
        let narrow = base.is_gpr32() || insn.memory_index().is_gpr32();
        let none = base == Register::None && insn.memory_index() == Register::None;
        if narrow && to.size() == 8 {
            let low = sized(number(to), 4);
            return self.sum(insn, low, disp);
        }
        if none && insn.memory_displ_size() == 4 {
            // An absolute 32-bit address with an address-size prefix does not sign-extend.
            let absolute = (disp as u64 <= 0x7fff_ffff).then_some(()).ok_or(Refused);
            absolute?;
        }
        self.sum(insn, to, disp)
    }

    fn sum(&mut self, insn: &Instruction, to: Register, disp: i64) -> Result<(), Refused> {
        let base = match insn.memory_base() {
            Register::None => None,
            base => Some(self.guest_in(base, RAX)),
        };
        let index = match insn.memory_index() {
            Register::None => None,
            index => Some((self.guest_in(index, R13), insn.memory_index_scale())),
        };
        match (base, index, disp) {
            (Some(base), None, 0) if to.size() == 8 => self.asm.copy(number(to), base),
            (Some(base), None, 0) => self.asm.copy_low(number(to), base),
            _ => self.asm.lea(to, base, index, disp)?,
        }
        Ok(())
    }
}

/// The instruction over host registers, its memory operand still the guest's.
fn renamed(insn: &Instruction, plan: &Plan) -> Instruction {
    let mut body = *insn;
    // Hints of lock elision above all: the host would begin a transaction of ours.
    body.set_has_rep_prefix(false);
    body.set_has_repne_prefix(false);
    body.set_has_xacquire_prefix(false);
    body.set_has_xrelease_prefix(false);
    for n in 0..insn.op_count() {
        if insn.op_kind(n) != OpKind::Register || !insn.op_register(n).is_gpr() {
            continue;
        }
        let register = insn.op_register(n);
        let guest = number(register);
        if guest == 0 && plan.through_rax || is_high_byte(register) {
            continue;
        }
        let host = host_of(guest)
            .or_else(|| {
                plan.residents
                    .iter()
                    .find(|r| r.guest == guest)
                    .map(|r| r.scratch)
            })
            .unwrap_or(guest);
        body.set_op_register(n, sized(host, register.size()));
    }
    // `xchg eax, reg` has a form of its own, which cannot be renamed.
    body.set_code(match body.code() {
        Code::Xchg_r16_AX => Code::Xchg_rm16_r16,
        Code::Xchg_r32_EAX => Code::Xchg_rm32_r32,
        Code::Xchg_r64_RAX => Code::Xchg_rm64_r64,
        code => code,
    });
    body
}
