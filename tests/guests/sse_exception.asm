; Unmasked division by zero: #XM.
; mode:    long64
; in:      xmm0=0x3f800000 xmm1=0
; out:     trap=XM xmm0=0x3f800000
    mov dword [DATA], 0x1f80 & ~(1 << 9)
    ldmxcsr [DATA]
    divss xmm0, xmm1
    hlt
