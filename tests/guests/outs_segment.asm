; A count of zero: REP OUTS does nothing, not even check the port.
; mode:    long64
; in:      rcx=0 rsi=0x8000000000000000
; out:     rsi=0x8000000000000000
    rep outsb
    hlt
