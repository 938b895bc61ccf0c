//! Stubs that look in the TLB's second level, for accesses that the first does not have; and last among
//! the pages that code lies on beside data.

use std::mem::offset_of;

use memory::Lines;

use super::assembler::{Assembler, Jump, condition};
use super::emitter::Way as Access;
use super::native;
use super::registers::{R13, RAX, RCX, RDX};
use crate::mmu::spaces::GLOBAL;
use crate::mmu::{Entry, SET_ENTRIES, beside, second_raw, set};

/// Writes the stub for one kind of access: see [`super::runtime_raw::Stubs::refill`].
pub(super) fn write_refill(asm: &mut Assembler, way: Access, set: usize) {
    count(asm, native::FIRST_MISSES);
    // push rcx; push rdx; push r13; mov ecx, eax; and ecx, 0fffh; add ecx, r13d; cmp ecx, 1000h
    asm.raw(&[0x51, 0x52, 0x41, 0x55]);
    asm.raw(&[0x89, 0xc1, 0x81, 0xe1, 0xff, 0x0f, 0, 0]);
    asm.raw(&[0x44, 0x01, 0xe9, 0x81, 0xf9, 0x00, 0x10, 0, 0]);
    let crosses = asm.jump_if(condition::ABOVE);
    // What is accessed this way is mostly global, or mostly not: that is looked for first.
    let global_first = set == set::SUPERVISOR;
    let second = native::second(way, set);
    let missing = write_second(asm, way, set, global_first);
    let found = asm.jump();
    asm.land(missing);
    let missing = write_second(asm, way, set, !global_first);
    asm.land(found);
    // and eax, 0fffh; add rax, host; the sum is never zero
    asm.raw(&[0x25, 0xff, 0x0f, 0, 0]);
    asm.slot_op(0x03, RAX, R13, second + native::SECOND_HOST_AT);
    asm.raw(&POP_SCRATCH);
    asm.land(missing);
    let code = (way == Access::Write).then(|| write_beside(asm, set));
    for missing in code.into_iter().flatten() {
        asm.land(missing);
    }
    count(asm, native::SECOND_MISSES);
    asm.land(crosses);
    // xor edx, edx: equal
    asm.raw(&[0x31, 0xd2]);
    asm.raw(&POP_SCRATCH);
}

/// Looks in both levels for R13 bytes at RAX, at most a page's, and none where there are none. The second
/// is looked in by `refill`, the stub for the same kind of access, whose answer this one's is.
pub(super) fn write_range(asm: &mut Assembler, way: Access, set: usize, refill: u64) {
    // push rcx; push rdx; mov ecx, eax; and ecx, 0fffh; add ecx, r13d; cmp ecx, 1000h
    asm.raw(&[0x51, 0x52, 0x89, 0xc1, 0x81, 0xe1, 0xff, 0x0f, 0, 0]);
    asm.raw(&[0x44, 0x01, 0xe9, 0x81, 0xf9, 0x00, 0x10, 0, 0]);
    let crosses = asm.jump_if(condition::ABOVE);
    // mov ecx, eax; shr ecx, …; and ecx, mask: the slot
    let shift = 12 - size_of::<Entry>().trailing_zeros() as u8;
    asm.raw(&[0x89, 0xc1, 0xc1, 0xe9, shift, 0x81, 0xe1]);
    let mask = ((SET_ENTRIES - 1) * size_of::<Entry>()) as u32;
    asm.raw(&mask.to_le_bytes());
    // mov rdx, rax; and rdx, -1000h
    asm.raw(&[0x48, 0x89, 0xc2, 0x48, 0x81, 0xe2, 0x00, 0xf0, 0xff, 0xff]);
    asm.slot_op(0x3b, RDX, RCX, native::tlb_tag(way, set));
    let missing = asm.jump_if(condition::NOT_EQUAL);
    // The sum is never zero.
    asm.slot_op(0x03, RAX, RCX, native::tlb_distance(way, set));
    // pop rdx; pop rcx; ret
    asm.raw(&[0x5a, 0x59, 0xc3]);
    asm.land(missing);
    asm.raw(&[0x5a, 0x59]);
    asm.jump_to(refill);
    asm.land(crosses);
    // cmp eax, eax: equal
    asm.raw(&[0x5a, 0x59, 0x39, 0xc0, 0xc3]);
}

/// Looks in the second level for the page of RAX as it is mapped globally, or in the current address space
/// alone. When it is there, copies it into the first level, and R13 is where; otherwise takes the jump.
fn write_second(asm: &mut Assembler, way: Access, set: usize, global: bool) -> Jump {
    let second = native::second(way, set);
    write_tag(asm, global);
    // xor r13d, r13d; crc32 r13, rdx; and r13d, mask; shl r13d, …
    asm.raw(&[0x45, 0x31, 0xed, 0xf2, 0x4c, 0x0f, 0x38, 0xf1, 0xea]);
    asm.mask_r13(second_raw::HASH_MASK);
    asm.raw(&[0x41, 0xc1, 0xe5, second_raw::OFFSET_SHIFT]);
    asm.slot_op(0x3b, RDX, R13, second + native::SECOND_TAG_AT);
    let found = asm.jump_if(condition::EQUAL);
    // add r13d, 16: the other entry of the slot
    const { assert!(second_raw::IN_SLOT == 2) };
    asm.raw(&[0x41, 0x83, 0xc5, size_of::<second_raw::Entry>() as u8]);
    asm.slot_op(0x3b, RDX, R13, second + native::SECOND_TAG_AT);
    let missing = asm.jump_if(condition::NOT_EQUAL);
    asm.land(found);
    // mov ecx, eax; shr ecx, 12; and ecx, mask: the first level's slot
    asm.raw(&[0x89, 0xc1, 0xc1, 0xe9, 12, 0x81, 0xe1]);
    asm.raw(&(SET_ENTRIES as u32 - 1).to_le_bytes());
    // bts gs:[marks], ecx; shl ecx, 4
    asm.raw(&[0x65, 0x0f, 0xab, 0x0c, 0x25]);
    asm.raw(&native::marks(way, set, global).to_le_bytes());
    asm.raw(&[0xc1, 0xe1, size_of::<Entry>().trailing_zeros() as u8]);
    // and rdx, -1000h
    asm.raw(&[0x48, 0x81, 0xe2, 0x00, 0xf0, 0xff, 0xff]);
    asm.slot_op(0x89, RDX, RCX, native::first(way, set) + native::TAG_AT);
    // neg rdx; add rdx, the host's address
    asm.raw(&[0x48, 0xf7, 0xda]);
    asm.slot_op(0x03, RDX, R13, second + native::SECOND_HOST_AT);
    asm.slot_op(0x89, RDX, RCX, native::tlb_distance(way, set));
    missing
}

/// The tag of the page of RAX into RDX.
fn write_tag(asm: &mut Assembler, global: bool) {
    // mov rdx, rax; and rdx, -1000h
    asm.raw(&[0x48, 0x89, 0xc2, 0x48, 0x81, 0xe2, 0x00, 0xf0, 0xff, 0xff]);
    if global {
        // or rdx, GLOBAL
        asm.raw(&[0x48, 0x81, 0xca]);
        asm.raw(&(GLOBAL as u32).to_le_bytes());
    } else {
        // or rdx, gs:[space]
        asm.raw(&[0x65, 0x48, 0x0b, 0x14, 0x25]);
        asm.raw(&native::SPACE.to_le_bytes());
    }
}

/// As a refill, whose stub is `refill`, but for reads that may cross into the next page. Of those both
/// halves are looked for; the end of the one page and the beginning of the other are copied.
pub(super) fn write_split_read(asm: &mut Assembler, refill: u64) {
    const PART: u32 = native::LONGEST_SPLIT;
    // push rcx; mov ecx, eax; and ecx, 0fffh; add ecx, r13d; cmp ecx, 1000h; pop rcx
    asm.raw(&[0x51, 0x89, 0xc1, 0x81, 0xe1, 0xff, 0x0f, 0, 0]);
    asm.raw(&[0x44, 0x01, 0xe9, 0x81, 0xf9, 0x00, 0x10, 0, 0, 0x59]);
    let crosses = asm.jump_if(condition::ABOVE);
    asm.jump_to(refill);
    asm.land(crosses);
    // push rcx; push rdx; push rax; mov r13d, 1
    asm.raw(&[0x51, 0x52, 0x50, 0x41, 0xbd, 1, 0, 0, 0]);
    asm.call(refill);
    let missing = asm.jump_if(condition::EQUAL);
    // mov rdx, rax; and rdx, -1000h; mov rax, [rsp]; and rax, -1000h; add rax, 1000h
    asm.raw(&[0x48, 0x89, 0xc2, 0x48, 0x81, 0xe2, 0x00, 0xf0, 0xff, 0xff]);
    asm.raw(&[0x48, 0x8b, 0x04, 0x24, 0x48, 0x25, 0x00, 0xf0, 0xff, 0xff]);
    asm.raw(&[0x48, 0x05, 0x00, 0x10, 0, 0]);
    asm.call(refill);
    let missing_too = asm.jump_if(condition::EQUAL);
    for at in (0..PART).step_by(8) {
        // mov rcx, [rdx + …], of the page's end; mov rcx, [rax + at]
        asm.raw(&[0x48, 0x8b, 0x8a]);
        asm.raw(&(0x1000 - PART + at).to_le_bytes());
        asm.store(native::CROSSING + at, RCX);
        asm.raw(&[0x48, 0x8b, 0x48, at as u8]);
        asm.store(native::CROSSING + PART + at, RCX);
    }
    // pop rax; and eax, 0fffh; mov rdx, gs:[CPU]; lea rax, [rax + rdx + …]; test rdx, rdx: not equal
    asm.raw(&[0x58, 0x25, 0xff, 0x0f, 0, 0]);
    asm.load(RDX, native::CPU);
    asm.raw(&[0x48, 0x8d, 0x84, 0x10]);
    asm.raw(&(native::CROSSING + PART - 0x1000).to_le_bytes());
    asm.raw(&[0x48, 0x85, 0xd2, 0x5a, 0x59, 0xc3]);
    asm.land(missing);
    asm.land(missing_too);
    // pop rax; pop rdx; pop rcx; cmp eax, eax: equal
    asm.raw(&[0x58, 0x5a, 0x59, 0x39, 0xc0, 0xc3]);
}

/// `pop r13; pop rdx; pop rcx; ret`
const POP_SCRATCH: [u8; 5] = [0x41, 0x5d, 0x5a, 0x59, 0xc3];

/// Looks for a page with code, of which this writes other lines: RAX is the linear
/// address. Answers as a refill does, or goes on after the jumps.
fn write_beside(asm: &mut Assembler, set: usize) -> [Jump; 2] {
    let at = native::beside(set);
    write_tag(asm, false);
    // mov ecx, eax; shr ecx, 7; and ecx, mask: the slot
    let shift = 12 - size_of::<beside::Entry>().trailing_zeros() as u8;
    asm.raw(&[0x89, 0xc1, 0xc1, 0xe9, shift, 0x81, 0xe1]);
    asm.raw(&beside::OFFSET_MASK.to_le_bytes());
    asm.slot_op(0x3b, RDX, RCX, at + offset_of!(beside::Entry, tag) as u32);
    let missing = asm.jump_if(condition::NOT_EQUAL);
    asm.slot_op(0x8b, RDX, RCX, at + offset_of!(beside::Entry, host) as u32);
    asm.slot_op(0x8b, R13, RCX, at + offset_of!(beside::Entry, code) as u32);
    // mov ecx, eax; shr ecx, 7; and ecx, 31; shr r13, cl: bit 0 is the first line
    asm.raw(&[0x89, 0xc1, 0xc1, 0xe9, Lines::SHIFT as u8]);
    asm.raw(&[0x83, 0xe1, 31, 0x49, 0xd3, 0xed]);
    // mov ecx, eax; and ecx, 127; add ecx, [rsp] (the size); dec ecx; shr ecx, 7: lines after it
    asm.raw(&[0x89, 0xc1, 0x83, 0xe1, (1 << Lines::SHIFT) - 1]);
    asm.raw(&[0x03, 0x0c, 0x24, 0xff, 0xc9, 0xc1, 0xe9]);
    asm.raw(&[Lines::SHIFT as u8]);
    // xor ecx, 63; shl r13, cl: only those are left
    asm.raw(&[0x83, 0xf1, 63, 0x49, 0xd3, 0xe5]);
    // test r13, r13
    asm.raw(&[0x4d, 0x85, 0xed]);
    let code = asm.jump_if(condition::NOT_EQUAL);
    // and eax, 0fffh; add rax, rdx: never zero
    asm.raw(&[0x25, 0xff, 0x0f, 0, 0, 0x48, 0x01, 0xd0]);
    asm.raw(&POP_SCRATCH);
    [missing, code]
}

/// `inc qword gs:[disp]`
fn count(asm: &mut Assembler, disp: u32) {
    asm.raw(&[0x65, 0x48, 0xff, 0x04, 0x25]);
    asm.raw(&disp.to_le_bytes());
}
