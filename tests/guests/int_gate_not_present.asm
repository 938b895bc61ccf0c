; INT n to a gate that is not present: the error code names it, without EXT.
; mode:    protected32
; out:     trap=NP error=0x40a at=0x8007
    mov byte [0x7000 + 0x81 * 8 + 5], 0x0e
    int 0x81
