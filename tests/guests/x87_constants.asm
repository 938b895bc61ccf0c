; mode:    long64
; out:     mem80[0x20000]=0x4000c90fdaa22168c235 mem64[0x20010]=0x4000000000000000
    fninit
    fldpi
    fstp tword [DATA]
    fld1
    fadd st0, st0
    fstp qword [DATA + 16]
    hlt
