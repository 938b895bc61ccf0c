; mode:    long64
; in:      rax=0x80000001
; out:     rax=3 flags=CF ignore=OF,SF,ZF,AF,PF
    stc
    rcl eax, 1
    hlt
