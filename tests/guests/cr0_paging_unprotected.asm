; CR0.PG without PE: #GP(0).
; mode:    real16
; out:     trap=GP
    mov eax, 0x80000010
    mov cr0, eax
