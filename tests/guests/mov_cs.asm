; MOV to CS: #UD.
; mode:    protected32
; out:     trap=UD at=0x8000
    db 0x8e, 0xc8
