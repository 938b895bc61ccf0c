; Stops at the first difference, past it.
; mode:    long64
; in:      rsi=0x20000 rdi=0x20100 rcx=8 mem64[0x20000]=0x4544434241 mem64[0x20100]=0x4558434241
; out:     rcx=4 rsi=0x20004 rdi=0x20104 flags=CF,AF,SF ignore=PF
    cld
    repe cmpsb
    hlt
