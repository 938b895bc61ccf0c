//! From the 32-bit protected mode that a PVH kernel is entered in to Rust in 64-bit mode: pages of 2 MiB
//! that map the lower 32 GiB to themselves, and an interrupt table whose every gate returns at once.
//!
//! Spec: Xen docs/misc/pvh.pandoc; Intel SDM volume 3, "Initializing IA-32e Mode".

use core::arch::global_asm;

// How many GiB are mapped: RAM, the windows below 4 GiB, and where 64-bit regions are from 16 GiB on.
const MAPPED: usize = 32;

global_asm!(
    r#"
    .section .note.Xen, "a", @note
    .align 4
    .long 4, 4, 18          // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long start

    .section .start, "ax", @progbits
    .code32
    .global start
start:
    cli
    cld
    lea esp, [stack_end]
    // Page tables: one level 4, one level 3, and a level 2 for each GiB.
    lea edi, [tables]
    mov ecx, ({mapped} + 2) * 1024
    xor eax, eax
    rep stosd
    lea eax, [tables + 4096 + 3]
    mov [tables], eax
    lea edi, [tables + 4096]
    lea eax, [tables + 8192 + 3]
    mov ecx, {mapped}
2:  mov [edi], eax
    add eax, 4096
    add edi, 8
    loop 2b
    lea edi, [tables + 8192]
    mov eax, 0x83           // present, writable, 2 MiB
    xor edx, edx
    mov ecx, {mapped} * 512
3:  mov [edi], eax
    mov [edi + 4], edx
    add eax, 0x200000
    adc edx, 0
    add edi, 8
    loop 3b
    lea eax, [tables]
    mov cr3, eax
    mov eax, cr4
    or eax, 0x620           // PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100           // LME
    wrmsr
    mov eax, cr0
    and eax, 0xfffffffb     // no emulation of x87
    or eax, 0x80000003      // paging
    mov cr0, eax
    lgdt [table_at]
    ljmp 8, offset long

    .code64
long:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    // Each of 256 gates leads to one that returns.
    lea rdi, [gates]
    lea rdx, [returns]
    mov ecx, 256
4:  mov eax, edx
    and eax, 0xffff
    or eax, 0x80000
    mov [rdi], eax
    mov eax, edx
    and eax, 0xffff0000
    or eax, 0x8e00
    mov [rdi + 4], eax
    mov qword ptr [rdi + 8], 0
    add rdi, 16
    dec ecx
    jnz 4b
    // But faults, of which there shall be none, are told: vectors 0 to 31 without NMIs.
    lea rdi, [gates]
    lea rdx, [faults]
    mov ecx, 32
6:  cmp ecx, 30
    je 7f
    mov [rdi], dx
    mov eax, edx
    and eax, 0xffff0000
    or eax, 0x8e00
    mov [rdi + 4], eax
7:  add rdi, 16
    dec ecx
    jnz 6b
    lidt [gates_at]
    lea rsp, [stack_end]
    call main
5:  hlt
    jmp 5b
returns:
    iretq
faults:
    mov rdi, [rsp]
    mov rsi, [rsp + 8]
    mov rdx, cr2
    and rsp, -16
    call fault

    // What compilers call, and a C library would have.
    .global memset, memcpy, rust_eh_personality
memset:
    mov r8, rdi
    mov eax, esi
    mov rcx, rdx
    rep stosb
    mov rax, r8
    ret
memcpy:
    mov rax, rdi
    mov rcx, rdx
    rep movsb
rust_eh_personality:
    ret

    .align 8
descriptors:
    .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
table_at:
    .word 23
    .long descriptors
    .long 0
gates_at:
    .word 4095
    .quad gates

    .bss
    .align 4096
tables:
    .skip ({mapped} + 2) * 4096
gates:
    .skip 4096
stack:
    .skip 65536
stack_end:
    "#,
    mapped = const MAPPED,
);
