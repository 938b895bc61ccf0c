; Clearing PAE in long mode: #GP(0).
; mode:    long64
; out:     trap=GP error=0
    mov rax, cr4
    and rax, ~(1 << 5)
    mov cr4, rax
    hlt
