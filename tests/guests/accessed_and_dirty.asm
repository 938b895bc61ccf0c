; Reading sets A, writing D too.
; mode:    long64
; in:      mem64[0x4100]=0x20003 mem64[0x4108]=0x21003
; out:     mem64[0x4100]=0x20023 mem64[0x4108]=0x21063
    mov al, [DATA]
    mov byte [DATA + 0x1000], 1
    hlt
