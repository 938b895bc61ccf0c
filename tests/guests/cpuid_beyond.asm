; A sub-leaf of leaf 7 beyond the last answers zeros.
; mode:    long64
; out:     rax=0 rbx=0 rcx=0 rdx=0
    mov eax, 7
    mov ecx, 9
    cpuid
    hlt
