; mode:    long64
; in:      xmm0=0x40400000400000003f800000 xmm1=0x40c0000040a0000040800000
; out:     xmm0=0x4110000040e0000040a00000 xmm2=0x40b00000 ignore=CF,PF,AF,ZF,SF,OF
    addps xmm0, xmm1
    mov eax, 0x40b00000
    movd xmm2, eax
    hlt
