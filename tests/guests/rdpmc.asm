; There are no performance counters.
; mode:    long64
; out:     trap=GP error=0
    xor ecx, ecx
    rdpmc
