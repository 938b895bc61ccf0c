; INVPCID of an unknown type: #GP(0).
; needs:   invpcid
; mode:    long64
; out:     trap=GP error=0
    mov eax, 4
    invpcid rax, [DATA]
