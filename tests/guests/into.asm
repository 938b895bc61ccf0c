; INTO with OF set.
; mode:    protected32
; out:     trap=OF at=0x8005
    mov al, 0x7f
    inc al
    into
