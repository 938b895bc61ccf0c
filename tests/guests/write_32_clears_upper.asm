; A 32-bit result clears the upper half; 16 and 8 bits keep it.
; mode:    long64
; in:      rax=0x1111111111111111 rbx=0x2222222222222222 rcx=0x3333333333333333
; out:     rax=0xffffffff rbx=0x222222222222ffff rcx=0x333333333333ff33
    mov eax, -1
    mov bx, -1
    mov ch, -1
    hlt
