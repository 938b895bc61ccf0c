; In virtual-8086 mode a segment's base is sixteen times its selector.
; mode:    protected32
; in:      mem32[0x44441]=0x66778899
; out:     trap=INT80 rax=0x6677 rbx=0x12345678 rcx=0x5678
    push dword 0x2222
    push dword 0x3333
    push dword 0x4444
    push dword 0x5555
    push dword 0x1000
    push dword 0x8ffe
    push dword 0x23002
    push dword 0x800
    push dword virtual - $$
    iret
bits 16
virtual:
    xor eax, eax
    mov ax, [0x3]
    push dword 0x12345678
    pop ebx
    mov ecx, ebx
    movzx ecx, cx
    int 0x80
