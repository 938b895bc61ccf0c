; CR4.TSD: RDTSC in ring 3 is #GP(0).
; mode:    long64
; out:     trap=GP error=0
    mov rax, cr4
    or eax, 4
    mov cr4, rax
    rdtsc
    push qword USER_DATA_SEL
    push qword 0x18000
    push qword 2
    push qword USER_CODE64_SEL
    lea rax, [user]
    push rax
    iretq
user:
    rdtsc
