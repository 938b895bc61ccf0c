//! The guest's x87 state on its way into the host's x87 unit and back. Spec: Intel SDM Vol. 1,
//! "Operation of XSAVE" and "Operation of XRSTOR"; the image is an XSAVE area with the x87 part only,
//! since FXRSTOR would load vector registers too.
//!
//! Last-instruction pointers: the host's are of the translation, so translated code notes the
//! guest's ([`X87::page`], [`X87::offset`]). FOP changes with unmasked exceptions only, under which
//! nothing is translated.

use std::mem::offset_of;

use x86::Fpu;

use super::assembler::{Assembler, condition};
use super::native::{self, fpu, x87};
use super::registers::{R13, RAX, RDX};

/// An XSAVE area without extended components: the legacy region and the header.
const IMAGE_BYTES: usize = 576;
const CONTROL_AT: usize = 0;
const STATUS_AT: usize = 2;
const TAG_AT: usize = 4;
const ST_AT: usize = 32;
const XSTATE_BV_AT: usize = 512;

/// Control word with every exception masked.
pub(super) const ALL_MASKED: u16 = 0x3f;
/// Status without error summary and busy, which are clear when all exceptions are masked.
const STATUS: u32 = 0x7f7f;

/// What translated code keeps of the x87 beside `Cpu::fpu`.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct X87 {
    image: [u8; IMAGE_BYTES],
    /// Page and offset in it of the last instruction that sets FIP.
    page: u64,
    offset: u64,
    /// A control word that is about to be loaded.
    word: u32,
    /// The guest's state is in the host's x87 unit.
    loaded: u8,
    /// It goes back there after the handler that has just run.
    reload: u8,
}

impl X87 {
    pub(crate) fn new() -> X87 {
        X87 {
            image: [0; IMAGE_BYTES],
            page: 0,
            offset: 0,
            word: 0,
            loaded: 0,
            reload: 0,
        }
    }

    /// Says whether the unit that a handler returns to needs the state.
    pub(super) fn set_reload(&mut self, reload: bool) {
        self.reload = reload.into();
    }
}

const fn image(offset: usize) -> u32 {
    x87(offset_of!(X87, image) + offset)
}

pub(super) const PAGE: u32 = x87(offset_of!(X87, page));
pub(super) const OFFSET: u32 = x87(offset_of!(X87, offset));
pub(super) const WORD: u32 = x87(offset_of!(X87, word));
pub(super) const LOADED: u32 = x87(offset_of!(X87, loaded));
pub(super) const RELOAD: u32 = x87(offset_of!(X87, reload));

const CONTROL: u32 = fpu(offset_of!(Fpu, control));
const STATUS_WORD: u32 = fpu(offset_of!(Fpu, status));
const TAG: u32 = fpu(offset_of!(Fpu, tag));
const INSTRUCTION_POINTER: u32 = fpu(offset_of!(Fpu, instruction_pointer));
pub(super) const DATA_POINTER: u32 = fpu(offset_of!(Fpu, data_pointer));

const fn st(n: usize) -> u32 {
    fpu(offset_of!(Fpu, st) + n * 16)
}

/// Addresses of the stubs that translated code calls; none where the host has no XSAVE.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct X87Stubs {
    /// Into the vCPU; the host's unit is as FNINIT leaves it. Keeps RAX, but not RDX.
    save: u64,
    /// Into the host's unit. Uses RAX and RDX.
    restore: u64,
    /// Loads the state at a unit's start; RAX is the unit's page offset, should it not be loadable.
    pub(super) load: u64,
}

impl X87Stubs {
    /// Writes what goes on by itself; [`X87Stubs::write_checked_load`] is to follow.
    pub(super) fn write(asm: &mut Assembler) -> X87Stubs {
        let save = asm.here();
        write_save(asm);
        let restore = asm.here();
        write_restore(asm);
        X87Stubs {
            save,
            restore,
            load: 0,
        }
    }

    /// `interpret` leaves for the interpreter from inside a call.
    pub(super) fn write_checked_load(&mut self, asm: &mut Assembler, interpret: u64) {
        self.load = asm.here();
        // RAX becomes the unit's linear address.
        asm.add_from(RAX, native::PAGE_BASE);
        asm.store(native::RIP, RAX);
        load_word(asm, CONTROL);
        // not eax; test al, ALL_MASKED
        asm.raw(&[0xf7, 0xd0]);
        asm.test_al(ALL_MASKED as u8);
        let unmasked = asm.jump_if(condition::NOT_EQUAL);
        asm.land_at(unmasked, interpret);
        // mov r13, rdx; call restore; mov rdx, r13; ret
        asm.copy(R13, RDX);
        asm.call(self.restore);
        asm.copy(RDX, R13);
        asm.raw(&[0xc3]);
    }

    /// Calls `save` if the state is loaded.
    pub(super) fn save_if_loaded(&self, asm: &mut Assembler) {
        asm.test_byte(LOADED);
        let none = asm.jump_if(condition::EQUAL);
        asm.call(self.save);
        asm.land(none);
    }

    /// After a handler: calls `restore` if the unit it returns to needs the state.
    pub(super) fn restore_if_needed(&self, asm: &mut Assembler) {
        asm.test_byte(RELOAD);
        let none = asm.jump_if(condition::EQUAL);
        asm.call(self.restore);
        asm.land(none);
    }
}

/// `movzx eax, word gs:[disp]`
fn load_word(asm: &mut Assembler, disp: u32) {
    asm.raw(&[0x65, 0x0f, 0xb7, 0x04, 0x25]);
    asm.raw(&disp.to_le_bytes());
}

/// `mov gs:[disp], ax`
fn store_word(asm: &mut Assembler, disp: u32) {
    asm.raw(&[0x65, 0x66, 0x89, 0x04, 0x25]);
    asm.raw(&disp.to_le_bytes());
}

/// `and eax, mask`
fn mask_eax(asm: &mut Assembler, mask: u32) {
    asm.raw(&[0x25]);
    asm.raw(&mask.to_le_bytes());
}

fn copy_word(asm: &mut Assembler, to: u32, from: u32) {
    load_word(asm, from);
    store_word(asm, to);
}

/// The ten bytes of a register; the others are nobody's.
fn copy_register(asm: &mut Assembler, to: u32, from: u32) {
    asm.load(RAX, from);
    asm.store(to, RAX);
    copy_word(asm, to + 8, from + 8);
}

/// XSAVE (`extension` 4) or XRSTOR (5) of the x87 part.
fn xsave(asm: &mut Assembler, extension: u8) {
    asm.set_rax(1);
    // xor edx, edx
    asm.raw(&[0x31, 0xd2]);
    asm.raw(&[0x65, 0x0f, 0xae, 0x04 | extension << 3, 0x25]);
    asm.raw(&image(0).to_le_bytes());
}

fn write_save(asm: &mut Assembler) {
    // push rax
    asm.raw(&[0x50]);
    xsave(asm, 4);
    // fninit
    asm.raw(&[0xdb, 0xe3]);
    copy_word(asm, CONTROL, image(CONTROL_AT));
    copy_word(asm, STATUS_WORD, image(STATUS_AT));
    load_word(asm, image(TAG_AT));
    // mov gs:[TAG], al
    asm.raw(&[0x65, 0x88, 0x04, 0x25]);
    asm.raw(&TAG.to_le_bytes());
    for n in 0..8 {
        copy_register(asm, st(n), image(ST_AT + n * 16));
    }
    asm.load(RAX, PAGE);
    asm.add_from(RAX, OFFSET);
    asm.store(INSTRUCTION_POINTER, RAX);
    asm.set_byte(LOADED, 0);
    // pop rax; ret
    asm.raw(&[0x58, 0xc3]);
}

fn write_restore(asm: &mut Assembler) {
    copy_word(asm, image(CONTROL_AT), CONTROL);
    load_word(asm, STATUS_WORD);
    mask_eax(asm, STATUS);
    store_word(asm, image(STATUS_AT));
    load_word(asm, TAG);
    // movzx eax, al
    asm.raw(&[0x0f, 0xb6, 0xc0]);
    store_word(asm, image(TAG_AT));
    for n in 0..8 {
        copy_register(asm, image(ST_AT + n * 16), st(n));
    }
    asm.load(RAX, INSTRUCTION_POINTER);
    asm.mask_rax(-0x1000);
    asm.store(PAGE, RAX);
    asm.load(RAX, INSTRUCTION_POINTER);
    mask_eax(asm, 0xfff);
    asm.store(OFFSET, RAX);
    // XSAVE clears it where the state was the initial one.
    asm.set_byte(image(XSTATE_BV_AT), 1);
    xsave(asm, 5);
    asm.set_byte(LOADED, 1);
    asm.raw(&[0xc3]);
}

/// The running page holds the last instruction that sets FIP. Uses RAX, keeps EFLAGS.
pub(super) fn note_page(asm: &mut Assembler) {
    asm.load(RAX, native::PAGE_BASE);
    asm.store(PAGE, RAX);
}

/// That instruction's offset in its page.
pub(super) fn note_offset(asm: &mut Assembler, offset: u16) {
    // mov qword gs:[OFFSET], imm32
    asm.raw(&[0x65, 0x48, 0xc7, 0x04, 0x25]);
    asm.raw(&OFFSET.to_le_bytes());
    asm.raw(&u32::from(offset).to_le_bytes());
}
