; UCOMISS with a NaN sets ZF, PF and CF.
; mode:    long64
; in:      xmm0=0x7fc00000 xmm1=0x3f800000
; out:     flags=ZF,PF,CF
    ucomiss xmm0, xmm1
    hlt
