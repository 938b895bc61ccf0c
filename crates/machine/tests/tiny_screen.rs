//! A frame buffer that the guest writes as RAM, moves, and writes again, on every engine.

#![allow(
    clippy::cast_possible_truncation,
    reason = "values are made small by the code of each guest"
)]

mod tiny_guest;

use iced_x86::code_asm::{CodeAssembler, dword_ptr, dx, eax, ebx, ecx, edx};
use machine::{Card, EngineChoice, Outcome, ScreenConfig};
use tiny_guest::{Built, EXIT_PORT, Guest, HEADER_LEN, LOAD};

const OLD: u32 = 0xc000_0000;
const NEW: u32 = 0xd000_0000;
/// The screen's base address register: bus 0, slot 1.
const REGISTER: u32 = 0x8000_0810;
const ROUNDS: u32 = 200;

fn screen() -> ScreenConfig {
    ScreenConfig {
        card: Card::Vga,
        memory: 1 << 20,
        width: 320,
        height: 200,
        rom: None,
        keyboard: true,
    }
}

/// Paints pixel 5, moves the frame buffer, paints pixel 6, and ends with what it then reads of both and of
/// where the frame buffer was.
fn code() -> Vec<u8> {
    let assemble = || {
        let mut a = CodeAssembler::new(32)?;
        // Often enough to be translated.
        a.mov(ecx, ROUNDS)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.mov(dword_ptr(OLD + 20), ecx)?;
        a.mov(dword_ptr(OLD + 20), 0x0011_2233)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.mov(edx, 0xcf8u32)?;
        a.mov(eax, REGISTER)?;
        a.out(dx, eax)?;
        a.mov(edx, 0xcfcu32)?;
        a.mov(eax, NEW)?;
        a.out(dx, eax)?;
        a.mov(dword_ptr(NEW + 24), 0x0044_5566)?;
        // 1 for the old pixel at its new place, 2 for nothing at the old one.
        a.xor(ebx, ebx)?;
        a.mov(eax, dword_ptr(NEW + 20))?;
        a.sub(eax, 0x0011_2233)?;
        a.cmp(eax, 1)?;
        a.adc(ebx, 0)?;
        a.mov(eax, dword_ptr(OLD + 20))?;
        a.xor(ecx, ecx)?;
        a.add(eax, 1)?;
        a.adc(ecx, 0)?;
        a.lea(eax, dword_ptr(ebx + ecx * 2))?;
        a.out(u32::from(EXIT_PORT), eax)?;
        a.assemble((LOAD + HEADER_LEN as u32).into())
    };
    assemble().expect("code")
}

fn pixels(guest: &Guest) -> Vec<u32> {
    let screen = guest.machine.control().screen().expect("a screen");
    screen.look(|it| it.row(0)[4..8].to_vec())
}

fn check(engine: EngineChoice, name: &str) {
    let built = Built {
        engine,
        screen: Some(screen()),
        ..Built::default()
    };
    let mut guest = built.guest(name, &code());
    assert_eq!(pixels(&guest), [0; 4], "before it runs");
    assert_eq!(guest.run(), Outcome::DeviceExit(3));
    assert_eq!(pixels(&guest), [0, 0x0011_2233, 0x0044_5566, 0]);
}

#[test]
fn the_interpreter_writes_a_frame_buffer() {
    check(EngineChoice::Interpreter, "screen-interpreter");
}

#[test]
fn the_translator_writes_a_frame_buffer() {
    check(EngineChoice::Translator, "screen-translator");
}

#[test]
fn lockstep_writes_a_frame_buffer() {
    check(EngineChoice::Lockstep, "screen-lockstep");
}

#[test]
fn kvm_writes_a_frame_buffer() {
    if std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_err()
    {
        return;
    }
    check(EngineChoice::Kvm, "screen-kvm");
}

#[test]
fn a_screen_goes_with_the_machine_that_is_saved() {
    let built = || Built {
        engine: EngineChoice::Translator,
        screen: Some(screen()),
        ..Built::default()
    };
    let mut guest = built().guest("screen-saved", &code());
    assert_eq!(guest.run(), Outcome::DeviceExit(3));
    let saved = guest.machine.save().expect("a saved machine");
    let mut other = built().guest("screen-restored", &code());
    other.machine.restore(&saved).expect("the same machine");
    assert_eq!(pixels(&other), [0, 0x0011_2233, 0x0044_5566, 0]);
}
