; A reserved bit of CR4: #GP(0), and CR4 stays.
; mode:    long64
; out:     trap=GP error=0 cr4=0x620
    mov rax, cr4
    or rax, 1 << 63
    shr rax, 1
    mov cr4, rax
    hlt
