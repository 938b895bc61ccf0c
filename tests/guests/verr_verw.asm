; VERR and VERW of code and data.
; mode:    protected32
; out:     rax=0x01000101
    xor eax, eax
    mov ecx, CODE32_SEL
    verr cx
    setz al
    mov ebx, DATA_SEL
    verw bx
    setz ah
    ror eax, 16
    verw cx
    setz al
    verr bx
    setz ah
    ror eax, 16
    rol eax, 0
    hlt
