; mode:    protected32
; out:     trap=GP error=0x7f8
    mov ecx, 0x7f8
    mov ds, ecx
    hlt
