; INVLPG flushes a global page whatever PCID it was found with.
; needs:   pcid
; mode:    long64
; in:      mem32[0x62000]=0x33 mem32[0x63000]=0x44
; out:     rbx=0x33 rcx=0x44 rdx=0x44
    mov rax, cr4
    or eax, 1 << 17 | 1 << 7
    mov cr4, rax
    mov dword [PT + 0x62 * 8], 0x62107
    mov r12d, 0x1001
    mov r13d, 0x1002
    mov cr3, r12
    mov ebx, [0x62000]
    mov cr3, r13
    mov dword [PT + 0x62 * 8], 0x63107
    invlpg [0x62000]
    bts r12, 63
    mov ecx, [0x62000]
    mov cr3, r12
    mov edx, [0x62000]
    hlt
