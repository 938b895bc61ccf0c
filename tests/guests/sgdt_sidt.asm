; SGDT and SIDT store ten bytes in 64-bit mode.
; mode:    long64
; in:      mem128[0x20000]=0xffffffffffffffffffffffffffffffff
; out:     mem128[0x20000]=0xffffffffffff00000000000060000047 mem16[0x20010]=0xfff
    sgdt [DATA]
    sidt [DATA + 16]
    hlt
