; A null SS: #GP(0) outside 64-bit mode.
; mode:    protected32
; out:     trap=GP error=0
    xor eax, eax
    mov ss, eax
