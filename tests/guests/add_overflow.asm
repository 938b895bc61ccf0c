; mode:    long64
; in:      rax=0x7fffffffffffffff rbx=1
; out:     rax=0x8000000000000000 flags=OF,SF,AF,PF
    add rax, rbx
    hlt
