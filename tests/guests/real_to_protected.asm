; The way a boot loader goes: load GDT, set PE, far jump.
; mode:    real16
; out:     rax=0x11 rcx=0x18
    lgdt [gdtr]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword 0x18:protected
bits 32
protected:
    mov ecx, cs
    mov eax, 0x10
    mov ds, eax
    mov eax, cr0
    and eax, 0x11
    hlt
align 4
gdtr:
    dw 9 * 8 - 1
    dd 0x6000
