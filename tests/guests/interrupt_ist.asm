; An interrupt stack table entry is taken at the same privilege too, and aligned; SS stays.
; mode:    long64
; out:     rax=0x17fd0 rbx=0xfff8 rcx=0x10 rdx=0x10
    mov qword [0x6400 + 0x24], 0x17ff8
    lea rax, [handler]
    mov [0x7000 + 0x81 * 16], ax
    mov byte [0x7000 + 0x81 * 16 + 4], 1
    push rax
    int 0x81
    mov edx, ss
    hlt
handler:
    mov rcx, [rsp + 32]
    mov rbx, [rsp + 24]
    mov rax, rsp
    add rax, 8
    iretq
