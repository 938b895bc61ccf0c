; A call gate out of ring 3 copies two parameters to ring 0's stack; RETF 8 drops them on both.
; mode:    protected32
; out:     trap=GP error=0 rax=0x22222222 rbx=0x11111111 rcx=0x33 rdx=0x23 rsi=0x18000 rdi=0x33 rbp=0xffe8
    mov dword [0x6048], 0x00180000 + 0x8000 + inner - $$
    mov dword [0x604c], 0xec02
    lgdt [gdtr]
    push dword USER_DATA_SEL
    push dword 0x18000
    push dword 0x33
    push dword user
    retf
user:
    push dword 0x11111111
    push dword 0x22222222
    call 0x4b:0
    mov esi, esp
    mov edi, cs
    hlt
inner:
    mov eax, [ss:esp + 8]
    mov ebx, [ss:esp + 12]
    mov ecx, [ss:esp + 4]
    mov edx, [ss:esp + 20]
    mov ebp, esp
    retf 8
gdtr:
    dw 10 * 8 - 1
    dd 0x6000
