; Unmasked division by zero is told by the next waiting instruction: #MF with CR0.NE.
; mode:    long64
; out:     trap=MF
    fninit
    fnstcw [DATA]
    and word [DATA], ~4
    fldcw [DATA]
    fld1
    fldz
    fdivp st1, st0
    fwait
    hlt
