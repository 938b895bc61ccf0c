; mode:    long64
; in:      rax=0 rdx=0
; out:     rax=0xffffffffffffffff rdx=0xffffffffffffffff flags=CF,PF,AF,SF
    sub rax, 1
    sbb rdx, 0
    hlt
