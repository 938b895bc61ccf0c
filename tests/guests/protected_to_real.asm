; Back to real mode through a 16-bit code segment.
; mode:    protected32
; in:      mem64[0x6040]=0x00009b000000ffff
; out:     rax=0x1234 rcx=0 rbx=0x5678
    jmp 0x40:small
bits 16
small:
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    jmp 0:real
real:
    mov cx, cs
    mov ax, 0x1234
    mov bx, 0x5678
    movzx ecx, cx
    movzx eax, ax
    movzx ebx, bx
    hlt
