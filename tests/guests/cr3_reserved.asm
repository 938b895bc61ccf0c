; A bit of CR3 beyond the physical address: #GP(0).
; mode:    long64
; out:     trap=GP error=0 cr3=0x1000
    mov rax, 1 << 60 | 0x1000
    mov cr3, rax
