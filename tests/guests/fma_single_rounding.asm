; needs:   fma
; mode:    long64
; in:      xmm0=0x3f800001 xmm1=0x3f800001 xmm2=0xbf800002
; out:     xmm0=0x28800000
    vfmadd213ss xmm0, xmm1, xmm2
    hlt
