; mode:    long64
; in:      rax=0xffffffffffffffff rbx=0xffffffffffffffff
; out:     rax=1 rdx=0xfffffffffffffffe flags=CF,OF ignore=SF,ZF,AF,PF
    mul rbx
    hlt
