; A count of zero after masking changes no flag.
; mode:    long64
; in:      rax=5 rcx=0x40
; out:     rax=5 flags=CF,ZF,PF
    xor edx, edx
    stc
    shl rax, cl
    hlt
