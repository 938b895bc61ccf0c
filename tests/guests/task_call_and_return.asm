; CALL to a TSS nests: back link, NT, both busy; IRET goes back and CR0.TS is set.
; mode:    protected32
; out:     rax=0x38 rbx=0x4000 rcx=0x8b8b rdx=0x898b rsi=8 rdi=0 rbp=0xaaaa
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
    call 0x48:0
after:
    pushfd
    pop edi
    and edi, 0x4000
    mov dh, [0x604d]
    mov dl, [0x603d]
    movzx edx, dx
    movzx eax, word [0x6600]
    mov ebx, [DATA]
    mov ecx, [DATA + 4]
    mov ebp, [DATA + 8]
    mov esi, cr0
    and esi, 8
    hlt
task:
    mov [DATA + 8], eax
    pushfd
    pop ebx
    and ebx, 0x4000
    mov [DATA], ebx
    xor ecx, ecx
    mov ch, [0x604d]
    mov cl, [0x603d]
    mov [DATA + 4], ecx
    iret
gdtr:
    dw 11 * 8 - 1
    dd 0x6000
