; A null SS is allowed in 64-bit mode, inside rings 0 to 2.
; mode:    long64
; out:     rax=0 rsp=0x10000
    xor eax, eax
    mov ss, eax
    push rax
    pop rax
    mov eax, ss
    hlt
