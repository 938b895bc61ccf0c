//! A ROM of a few instructions: what the addresses below 1 MiB show, and address line 20, on every engine.

#![allow(
    clippy::cast_possible_truncation,
    reason = "values are made small by the code of each guest"
)]

mod tiny_guest;

use std::path::PathBuf;
use std::process::Command;

use machine::{EngineChoice, FirmwareConfig, Outcome};
use tiny_guest::Built;

/// It starts at the reset vector, whose segment ends where 4 GiB do, and stays there: what it looks at is
/// the same ROM below 1 MiB.
const ROM: &str = "
bits 16
cpu 386
org 0
start:  mov sp, 7000h
        mov bl, 1
        mov ax, 0f000h
        mov ds, ax
        ; ROM is not written.
        mov byte [cell], 1
        cmp byte [cell], 55h
        jne fail
        ; Reads go to ROM, writes to RAM.
        inc bl
        mov al, 20h
        call pam
        mov byte [cell], 2
        cmp byte [cell], 55h
        jne fail
        ; Reads go to RAM, writes nowhere.
        inc bl
        mov al, 10h
        call pam
        cmp byte [cell], 2
        jne fail
        add byte [cell], 1
        cmp byte [cell], 2
        jne fail
        ; Both go to RAM.
        inc bl
        mov al, 30h
        call pam
        mov byte [cell], 4
        cmp byte [cell], 4
        jne fail
        ; And to ROM again.
        inc bl
        mov al, 0
        call pam
        cmp byte [cell], 55h
        jne fail
        ; The second megabyte is the first while address line 20 is off.
        inc bl
        xor ax, ax
        mov es, ax
        dec ax
        mov fs, ax
        mov byte [es:500h], 11h
        mov byte [fs:510h], 22h
        in al, 92h
        and al, 0fdh
        out 92h, al
        cmp byte [fs:510h], 11h
        jne fail
        or al, 2
        out 92h, al
        cmp byte [fs:510h], 22h
        jne fail
        mov bl, 42
fail:   mov al, bl
        xor ah, ah
        out 0f4h, ax
        jmp $
; Register 59h of the host bridge.
pam:    mov cl, al
        mov eax, 80000058h
        mov dx, 0cf8h
        out dx, eax
        mov al, cl
        mov dx, 0cfdh
        out dx, al
        ret
cell:   db 55h
        times 0fff0h-($-$$) db 0
        jmp start
        times 10000h-($-$$) db 0
";

/// One file for each test, since they run at once.
fn rom(engine: EngineChoice) -> PathBuf {
    let name = format!("innkeeper-{}-{engine:?}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).expect("a writable directory");
    let (source, rom) = (folder.join("rom.asm"), folder.join("rom"));
    std::fs::write(&source, ROM).expect("a writable directory");
    let assembled = Command::new("nasm")
        .args(["-f", "bin", "-o"])
        .args([&rom, &source])
        .status();
    assert!(assembled.expect("nasm").success());
    rom
}

fn run_on(engine: EngineChoice) {
    let rom = rom(engine);
    let built = Built {
        engine,
        firmware: Some(FirmwareConfig {
            image: rom.clone(),
            ..FirmwareConfig::default()
        }),
        ..Built::default()
    };
    let mut guest = built.guest("rom", &[]);
    // The number of the step that failed, or 42.
    assert_eq!(guest.run(), Outcome::DeviceExit(42));
    let folder = rom.parent().expect("a directory");
    std::fs::remove_dir_all(folder).expect("it was there");
}

#[test]
fn firmware_is_shadowed_and_address_line_20_is_masked_when_interpreted() {
    run_on(EngineChoice::Interpreter);
}

#[test]
fn firmware_is_shadowed_and_address_line_20_is_masked_when_translated() {
    run_on(EngineChoice::Translator);
}

#[test]
fn firmware_is_shadowed_and_address_line_20_is_masked_under_kvm() {
    if std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok()
    {
        run_on(EngineChoice::Kvm);
    }
}
