; A reserved memory type in IA32_PAT: #GP(0).
; mode:    long64
; out:     trap=GP error=0
    mov ecx, 0x277
    mov eax, 0x00070406
    mov edx, 0x02070406
    wrmsr
