//! The guest's exception handlers: they log what happened, mend what can be mended, and otherwise
//! make the program go on at one of its recovery points. After enough of them the program is ended.

use iced_x86::IcedError;
use iced_x86::code_asm::*;
use x86::exception::vector;

use super::layout::{
    DOUBLE_FAULT_STACK, GDT, HANDLER_STACK, HANDLERS, IDT, INTERRUPT_PAGE, INTERRUPT_STACK, KEPT,
    LOG, PAGE, PT, TSS, code_at, put,
};

/// Ends a program, by HLT.
pub(crate) const END: u8 = 0x80;
/// Delivered by the machine, at any time.
pub(crate) const EXTERNAL: u8 = 0x40;
/// Returns and does nothing else.
pub(crate) const NOTHING: u8 = 0x41;

pub(crate) mod selector {
    pub(crate) const KERNEL_CODE: u16 = 0x10;
    pub(crate) const KERNEL_DATA: u16 = 0x18;
    pub(crate) const USER_CODE_32: u16 = 0x23;
    pub(crate) const USER_DATA: u16 = 0x2b;
    pub(crate) const USER_CODE: u16 = 0x33;
    pub(crate) const KERNEL_CODE_32: u16 = 0x38;
    pub(crate) const TSS: u16 = 0x40;
    /// Flat data, data that ends inside the data pages, data from a page on, data above a limit.
    pub(crate) const DATA_32: u16 = 0x53;
    pub(crate) const LIMITED: u16 = 0x5b;
    pub(crate) const BASED: u16 = 0x63;
    pub(crate) const DOWN: u16 = 0x6b;
}

/// In the page that handlers keep things in.
const COUNT: u64 = KEPT;
const LOG_AT: u64 = KEPT + 8;
const CONTROL: u64 = KEPT + 16;
const PAGE_BASE: u64 = KEPT + 24;
const STACK: u64 = KEPT + 32;
const LIMIT: u64 = KEPT + 40;
/// Loop counter of programs that have it in memory.
pub(crate) const RECOVERY: u64 = KEPT + 0x100;
pub(crate) const RECOVERIES: u64 = 16;

/// What a program tells the handlers.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// Handlers run on a stack of their own, also when they come from the supervisor.
    pub(crate) own_stack: bool,
    /// Linear address of the region.
    pub(crate) region: u64,
    pub(crate) stack_top: u64,
    /// Where to go on.
    pub(crate) recovery: Vec<u64>,
    /// Exceptions before the end.
    pub(crate) limit: u64,
}

const WITH_CODE: [u8; 8] = [8, 10, 11, 12, 13, 14, 17, 21];

/// Code of all handlers, and the offset of each vector's entry.
#[derive(Debug)]
pub(crate) struct Handlers {
    code: Vec<u8>,
    entries: Vec<u64>,
}

fn at(address: u64) -> AsmMemoryOperand {
    qword_ptr(address)
}

impl Handlers {
    /// # Errors
    /// Never: the code is always the same.
    pub(crate) fn assemble() -> Result<Handlers, IcedError> {
        let mut a = CodeAssembler::new(64)?;
        let mut common = a.create_label();
        let mut entries = Vec::new();
        for n in 0..=255u8 {
            let mut entry = a.create_label();
            a.set_label(&mut entry)?;
            match n {
                END => a.hlt()?,
                vector::DF => a.hlt()?,
                EXTERNAL => {
                    a.inc(at(INTERRUPT_PAGE))?;
                    a.iretq()?;
                }
                NOTHING => a.iretq()?,
                _ => {
                    if !WITH_CODE.contains(&n) {
                        a.push(0)?;
                    }
                    a.push(i32::from(n))?;
                    a.jmp(common)?;
                }
            }
            entries.push(entry);
        }
        let mut entry = a.create_label();
        a.set_label(&mut entry)?;
        a.swapgs()?;
        a.swapgs()?;
        a.sysretq()?;
        entries.push(entry);
        a.set_label(&mut common)?;
        common_part(&mut a)?;
        let options = iced_x86::BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
        let result = a.assemble_options(HANDLERS, options)?;
        let entries = entries
            .iter()
            .map(|label| result.label_ip(label))
            .collect::<Result<_, _>>()?;
        Ok(Handlers {
            code: result.inner.code_buffer,
            entries,
        })
    }

    /// Where SYSCALL goes.
    pub(crate) fn system_call(&self) -> u64 {
        self.entries.last().copied().unwrap_or_default()
    }

    /// Writes handlers, descriptors and what they go by into `ram`.
    pub(crate) fn write(&self, ram: &mut [u8], told: &Told) {
        let code = HANDLERS as usize;
        assert!(
            HANDLERS as usize + self.code.len() <= code_at(0),
            "too much handler"
        );
        ram[code..code + self.code.len()].copy_from_slice(&self.code);
        for (n, entry) in self.entries.iter().take(256).enumerate() {
            let own_stack = match n as u8 {
                vector::DF => 2,
                EXTERNAL | vector::NMI => 3,
                _ => u64::from(told.own_stack),
            };
            let rights = 0xee00 | own_stack;
            let selector = u64::from(selector::KERNEL_CODE) << 16;
            let low = entry & 0xffff | selector | rights << 32 | (entry >> 16) << 48;
            put(ram, IDT + n as u64 * 16, low);
            put(ram, IDT + n as u64 * 16 + 8, entry >> 32);
        }
        for (slot, descriptor) in [
            (selector::KERNEL_CODE, 0x00af_9b00_0000_ffff),
            (selector::KERNEL_DATA, 0x00cf_9300_0000_ffff),
            (selector::USER_DATA, 0x00cf_f300_0000_ffff),
            (selector::USER_CODE, 0x00af_fb00_0000_ffff),
            (selector::USER_CODE_32, 0x00cf_fb00_0000_ffff),
            (selector::KERNEL_CODE_32, 0x00cf_9b00_0000_ffff),
            (selector::DATA_32, 0x00cf_f300_0000_ffff),
            (selector::LIMITED, 0x00c0_f300_0000_0413),
            (selector::BASED, 0x00cf_f300_1000_ffff),
            (selector::DOWN, 0x00c0_f700_0000_0412),
        ] {
            put(ram, GDT + u64::from(slot & !7), descriptor);
        }
        put(ram, TSS + 4, HANDLER_STACK);
        let stacks = [HANDLER_STACK, DOUBLE_FAULT_STACK, INTERRUPT_STACK];
        for (n, top) in stacks.into_iter().enumerate() {
            put(ram, TSS + 0x24 + n as u64 * 8, top);
        }
        put(ram, PAGE_BASE, told.region);
        put(ram, STACK, told.stack_top);
        put(ram, LIMIT, told.limit);
        for n in 0..RECOVERIES {
            let point = told.recovery[n as usize % told.recovery.len()];
            put(ram, RECOVERY + n * 8, point);
        }
    }
}

/// On the stack: RCX, RBX, RAX, vector, error code, RIP, CS, RFLAGS, RSP, SS.
fn common_part(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut end = a.create_label();
    let mut retry = a.create_label();
    let mut recover = a.create_label();
    let mut absent = a.create_label();
    let mut page_fault = a.create_label();
    let mut trap = a.create_label();
    let mut alignment = a.create_label();
    let mut vector_error = a.create_label();
    let mut x87_error = a.create_label();
    a.push(rax)?;
    a.push(rbx)?;
    a.push(rcx)?;
    a.mov(rbx, at(LOG_AT))?;
    for (n, from) in [(0, 24), (1, 32), (2, 40), (3, 56)] {
        a.mov(rax, qword_ptr(rsp + from))?;
        a.mov(qword_ptr(rbx + (LOG as i32 + n * 8)), rax)?;
    }
    a.mov(rax, cr2)?;
    a.mov(qword_ptr(rbx + (LOG as i32 + 32)), rax)?;
    a.add(rbx, 64)?;
    a.and(rbx, 0xfff)?;
    a.mov(at(LOG_AT), rbx)?;
    a.mov(rcx, at(COUNT))?;
    a.inc(rcx)?;
    a.mov(at(COUNT), rcx)?;
    a.cmp(rcx, at(LIMIT))?;
    a.ja(end)?;
    a.mov(rbx, qword_ptr(rsp + 24))?;
    for (number, label) in [
        (vector::PF, page_fault),
        (vector::NM, absent),
        (vector::DB, trap),
        (vector::BP, retry),
        (vector::AC, alignment),
        (vector::XM, vector_error),
        (vector::MF, x87_error),
    ] {
        a.cmp(rbx, i32::from(number))?;
        a.je(label)?;
    }
    a.jmp(recover)?;

    // A page of the region that is lazy or copied on write, by its entry's address bits.
    a.set_label(&mut page_fault)?;
    a.mov(rax, cr2)?;
    a.sub(rax, at(PAGE_BASE))?;
    a.shr(rax, PAGE.trailing_zeros() as i32)?;
    a.sub(rax, 24)?;
    a.cmp(rax, 1)?;
    a.ja(recover)?;
    // Instructions are not mended: the pages are not executable.
    a.test(byte_ptr(rsp + 32), 0x10)?;
    a.jne(recover)?;
    a.mov(rbx, qword_ptr(rax * 8 + (PT as i32 + 24 * 8)))?;
    a.mov(rcx, rbx)?;
    a.or(rbx, 3)?;
    a.cmp(rcx, rbx)?;
    a.je(recover)?;
    a.mov(qword_ptr(rax * 8 + (PT as i32 + 24 * 8)), rbx)?;
    a.mov(rax, cr2)?;
    a.invlpg(byte_ptr(rax))?;
    a.jmp(retry)?;

    a.set_label(&mut absent)?;
    a.clts()?;
    a.jmp(retry)?;
    a.set_label(&mut trap)?;
    a.and(dword_ptr(rsp + 56), !0x100)?;
    a.jmp(retry)?;
    a.set_label(&mut alignment)?;
    a.and(dword_ptr(rsp + 56), !0x4_0000)?;
    a.jmp(retry)?;
    a.set_label(&mut x87_error)?;
    a.fnclex()?;
    a.jmp(retry)?;
    a.set_label(&mut vector_error)?;
    a.mov(dword_ptr(CONTROL), 0x1f80)?;
    a.ldmxcsr(dword_ptr(CONTROL))?;
    a.set_label(&mut retry)?;
    leave(a)?;

    a.set_label(&mut recover)?;
    a.mov(rcx, at(COUNT))?;
    a.and(rcx, RECOVERIES as i32 - 1)?;
    a.mov(rax, qword_ptr(rcx * 8 + RECOVERY as i32))?;
    a.mov(qword_ptr(rsp + 40), rax)?;
    a.mov(rax, at(STACK))?;
    a.mov(qword_ptr(rsp + 64), rax)?;
    a.and(dword_ptr(rsp + 56), !0x4000)?;
    leave(a)?;
    a.set_label(&mut end)?;
    a.hlt()
}

fn leave(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.pop(rcx)?;
    a.pop(rbx)?;
    a.pop(rax)?;
    a.add(rsp, 16)?;
    a.iretq()
}
