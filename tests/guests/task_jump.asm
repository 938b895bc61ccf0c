; JMP to a TSS: the old task is no longer busy, no back link, no NT; its registers were saved.
; mode:    protected32
; in:      rbx=0x1234
; out:     rax=0xaaaa rcx=0x898b rdx=0 rsi=0x1234 rdi=0x48
    mov dword [0x6600 + 0x20], task
    mov dword [0x6600 + 0x24], 2
    mov dword [0x6600 + 0x28], 0xaaaa
    mov dword [0x6600 + 0x38], 0x18000
    mov dword [0x6600 + 0x48], DATA_SEL
    mov dword [0x6600 + 0x4c], CODE32_SEL
    mov dword [0x6600 + 0x50], DATA_SEL
    mov dword [0x6600 + 0x54], DATA_SEL
    mov dword [0x6600 + 0x58], 0
    mov dword [0x6600 + 0x5c], 0
    mov dword [0x6600 + 0x60], 0
    mov dword [0x6600 + 0x64], 0x680000
    mov dword [0x6048], 0x66000067
    mov dword [0x604c], 0x8900
    lgdt [gdtr]
    jmp 0x48:0
after:
    hlt
task:
    mov ch, [0x603d]
    mov cl, [0x604d]
    movzx ecx, cx
    mov esi, [0x6400 + 0x34]
    pushfd
    pop edx
    and edx, 0x4000
    str edi
    mov ebx, [0x6400 + 0x20]
    sub ebx, after
    hlt
gdtr:
    dw 11 * 8 - 1
    dd 0x6000
