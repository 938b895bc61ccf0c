; DR7.GD: access to a debug register is #DB at the instruction, and the bit is cleared.
; mode:    long64
; out:     trap=DB at=0x8008
    mov eax, 0x2400
    mov dr7, rax
    mov rbx, dr6
    hlt
