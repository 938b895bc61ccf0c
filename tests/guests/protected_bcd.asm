; mode:    protected32
; in:      rax=0x79 rbx=0x35
; out:     rax=0x114 rcx=0x0206
    add al, bl
    daa
    setc ah
    push eax
    mov eax, 26
    aam
    mov ecx, eax
    pop eax
    and eax, 0xffff
    hlt
