; Virtual-8086 mode extensions: INT 60h stays inside, with VIF as its IF; CLI and STI change VIF.
; mode:    protected32
; out:     trap=GP error=0 rax=0x3246 rbx=0x3046 rcx=0x3246
    mov eax, cr4
    or eax, 1
    mov cr4, eax
    mov edi, 0x6600
    mov ecx, 0x100 / 4
    xor eax, eax
    rep stosd
    mov dword [0x6604], 0x10000
    mov dword [0x6608], DATA_SEL
    mov word [0x6666], 0x88
    mov byte [0x6688 + 32], 0xff
    mov dword [0x6048], 0x660000ff
    mov dword [0x604c], 0x8900
    lgdt [gdtr]
    mov eax, 0x48
    ltr ax
    mov word [0x60 * 4], handler - $$
    mov word [0x60 * 4 + 2], 0x800
    push dword 0x2222
    push dword 0x3333
    push dword 0x4444
    push dword 0x5555
    push dword 0x1000
    push dword 0x8ffe
    push dword 0x20002
    push dword 0x800
    push dword virtual - $$
    iret
bits 16
virtual:
    xor eax, eax
    mov ebx, eax
    mov ecx, eax
    sti
    int 0x60
    pushf
    pop cx
    hlt
handler:
    mov bp, sp
    mov ax, [bp + 4]
    pushf
    pop bx
    iret
gdtr:
    dw 11 * 8 - 1
    dd 0x6000
