; After INVLPG the new mapping counts.
; mode:    long64
; in:      mem32[0x20000]=0x11 mem32[0x30000]=0x22
; out:     rax=0x11 rbx=0x22
    mov eax, [DATA]
    mov qword [PT + 0x20 * 8], 0x30003
    invlpg [DATA]
    mov ebx, [DATA]
    hlt
