; #UD is benign: #NP while it is delivered comes in its place, with EXT and IDT in the error code.
; mode:    long64
; out:     trap=NP error=0x33
    mov byte [0x7000 + 6 * 16 + 5], 0x0e
    ud2
