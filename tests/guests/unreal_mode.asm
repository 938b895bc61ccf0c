; Real mode keeps a segment's limit from protected mode.
; mode:    real16
; in:      mem32[0x120000]=0x1234
; out:     rax=0x1234
    lgdt [gdtr]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    mov bx, 0x10
    mov ds, bx
    and al, 0xfe
    mov cr0, eax
    xor bx, bx
    mov ds, bx
    mov ebx, 0x120000
    mov eax, [ebx]
    hlt
align 4
gdtr:
    dw 9 * 8 - 1
    dd 0x6000
