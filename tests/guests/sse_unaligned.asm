; MOVAPS on an unaligned address: #GP(0).
; mode:    long64
; in:      rbx=0x20008
; out:     trap=GP error=0 at=0x8000
    movaps xmm0, [rbx]
    hlt
