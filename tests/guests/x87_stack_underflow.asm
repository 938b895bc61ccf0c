; Masked, an empty register reads as the default NaN; the status word says invalid and stack fault.
; mode:    long64
; out:     mem80[0x20000]=0xffffc000000000000000 rax=0x41
    fninit
    fadd st0, st1
    fnstsw ax
    and eax, 0x7f
    fstp tword [DATA]
    hlt
