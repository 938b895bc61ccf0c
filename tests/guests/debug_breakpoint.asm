; A data breakpoint traps after the write.
; mode:    long64
; out:     trap=DB at=0x8022 mem32[0x20000]=5
    mov eax, DATA
    mov dr0, rax
    mov eax, 0xd0401
    mov dr7, rax
    mov ebx, DATA
    xor ecx, ecx
    times 5 nop
    mov dword [rbx], 5
    nop
    hlt
