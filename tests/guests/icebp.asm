; INT1 (F1h) is a trap: the address pushed is the next instruction's.
; mode:    long64
; out:     trap=DB at=0x8002
    nop
    int1
    hlt
