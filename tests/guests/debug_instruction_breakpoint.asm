; An instruction breakpoint comes before its instruction.
; mode:    long64
; out:     trap=DB at=0x8016 rcx=1
    lea rax, [there]
    mov dr0, rax
    mov eax, 0x402
    mov dr7, rax
    xor ecx, ecx
    inc ecx
there:
    inc ecx
    hlt
