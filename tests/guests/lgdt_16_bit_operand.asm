; LGDT with 16-bit operands takes 24 bits of the base.
; mode:    protected32
; in:      mem64[0x20000]=0xff0060000047
; out:     mem64[0x20010]=0x60000047
    mov dword [DATA + 2], 0xff006000
    o16 lgdt [DATA]
    sgdt [DATA + 16]
    hlt
