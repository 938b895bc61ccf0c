; Overlapping forward copy repeats the pattern, byte by byte.
; mode:    long64
; in:      rsi=0x20000 rdi=0x20002 rcx=6 mem64[0x20000]=0x6261
; out:     mem64[0x20000]=0x6261626162616261 rcx=0 rsi=0x20006 rdi=0x20008
    cld
    rep movsb
    hlt
