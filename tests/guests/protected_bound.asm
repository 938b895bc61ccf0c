; mode:    protected32
; in:      mem64[0x20000]=0x0000000500000002 rax=6
; out:     trap=BR at=0x8000
    bound eax, [DATA]
    hlt
