; mode:    long64
; in:      rax=0x8000000000000000
; out:     trap=GP error=0 at=0x8000
    jmp rax
    hlt
