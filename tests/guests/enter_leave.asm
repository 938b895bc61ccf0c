; mode:    long64
; in:      rbp=0x1234
; out:     rbp=0x1234 rsp=0x10000 rax=0xfff8 rbx=0xffe8
    enter 16, 0
    mov rax, rbp
    mov rbx, rsp
    leave
    hlt
