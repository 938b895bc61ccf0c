; LSTAR must be canonical.
; mode:    long64
; out:     trap=GP error=0
    mov ecx, 0xc0000082
    mov edx, 0x00008000
    xor eax, eax
    wrmsr
