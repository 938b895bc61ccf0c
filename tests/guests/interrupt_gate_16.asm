; A 16-bit interrupt gate pushes words; a trap gate leaves IF alone.
; mode:    protected32
; out:     rax=0x18 rbx=0xfffa rcx=0 rdx=0x202
    mov eax, handler
    mov [0x7000 + 0x81 * 8], ax
    mov byte [0x7000 + 0x81 * 8 + 5], 0x87
    sti
    int 0x81
after:
    cli
    sub ecx, after
    hlt
handler:
    mov ebx, esp
    movzx eax, word [esp + 2]
    movzx ecx, word [esp]
    pushfd
    pop edx
    o16 iret
