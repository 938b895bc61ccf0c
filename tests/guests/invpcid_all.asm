; INVPCID of all address spaces but for global pages, and with them.
; needs:   invpcid
; mode:    long64
; in:      mem32[0x60000]=0x11 mem32[0x61000]=0x22 mem32[0x62000]=0x33 mem32[0x63000]=0x44
; out:     rbx=0x11 rcx=0x33 rdx=0x22 rsi=0x22 rdi=0x44 rbp=0x44
    mov rax, cr4
    or eax, 1 << 17 | 1 << 7
    mov cr4, rax
    mov dword [PT + 0x62 * 8], 0x62107
    mov r12d, 0x1001
    mov r13d, 0x1002
    mov cr3, r12
    mov ebx, [0x60000]
    mov ecx, [0x62000]
    mov cr3, r13
    mov ebx, [0x60000]
    bts r12, 63
    bts r13, 63
    mov dword [PT + 0x60 * 8], 0x61007
    mov dword [PT + 0x62 * 8], 0x63107
    mov eax, 3
    invpcid rax, [DATA]
    mov edx, [0x60000]
    mov cr3, r12
    mov esi, [0x60000]
    mov eax, 2
    invpcid rax, [DATA]
    mov edi, [0x62000]
    mov cr3, r13
    mov ebp, [0x62000]
    hlt
