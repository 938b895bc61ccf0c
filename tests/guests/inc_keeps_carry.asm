; mode:    long64
; in:      rax=0xffffffff
; out:     rax=0 flags=CF,ZF,PF,AF
    stc
    inc eax
    hlt
