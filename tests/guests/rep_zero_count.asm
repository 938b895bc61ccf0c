; A count of zero does nothing, not even touch memory: RDI is not canonical.
; mode:    long64
; in:      rdi=0x8000000000000000 rcx=0
; out:     rdi=0x8000000000000000 rcx=0
    rep stosq
    hlt
