; INVPCID of one address flushes it in the address space that it names.
; needs:   invpcid
; mode:    long64
; in:      mem32[0x60000]=0x11 mem32[0x61000]=0x22
; out:     rbx=0x11 rdx=0x22
    mov rax, cr4
    or eax, 1 << 17
    mov cr4, rax
    mov r12d, 0x1001
    mov r13d, 0x1002
    mov cr3, r12
    mov cr3, r13
    mov ebx, [0x60000]
    bts r12, 63
    bts r13, 63
    mov cr3, r12
    mov dword [PT + 0x60 * 8], 0x61007
    mov qword [DATA], 2
    mov qword [DATA + 8], 0x60123
    xor eax, eax
    invpcid rax, [DATA]
    mov cr3, r13
    mov edx, [0x60000]
    hlt
