; In 64-bit mode the stack is aligned to 16 bytes before the frame is pushed.
; mode:    long64
; out:     rax=0xffc8 rbx=0xfff3
    lea rax, [handler]
    mov [0x7000 + 0x81 * 16], ax
    mov rsp, 0xfff3
    int 0x81
    hlt
handler:
    mov rax, rsp
    mov rbx, [rsp + 24]
    hlt
