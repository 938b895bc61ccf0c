; DR4 and DR5 are DR6 and DR7 while CR4.DE is clear; reserved bits read as they must.
; mode:    long64
; out:     rax=0xffff0ff0 rbx=0x400 rcx=0x700
    mov rax, dr4
    mov rbx, dr5
    mov ecx, 0xdb00
    mov dr7, rcx
    mov rcx, dr7
    hlt
