; Without CR4.FSGSBASE: #UD.
; mode:    long64
; out:     trap=UD at=0x8000
    rdfsbase rax
