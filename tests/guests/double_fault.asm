; #GP whose gate is not present: #NP while it is delivered makes a double fault.
; mode:    long64
; out:     trap=DF error=0 at=0x800d
    mov byte [0x7000 + 13 * 16 + 5], 0x0e
    mov ecx, 0x7f8
    mov ds, ecx
    hlt
