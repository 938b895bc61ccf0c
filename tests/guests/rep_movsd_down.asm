; mode:    long64
; in:      rsi=0x20008 rdi=0x20108 rcx=3 mem128[0x20000]=0x00000000333333332222222211111111
; out:     mem128[0x20100]=0x00000000333333332222222211111111 rsi=0x1fffc rdi=0x200fc rcx=0
    std
    rep movsd
    cld
    hlt
