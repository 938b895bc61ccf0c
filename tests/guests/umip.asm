; User-mode instruction prevention: SGDT in ring 3 is #GP(0).
; needs:   umip
; mode:    long64
; out:     trap=GP error=0
    mov rax, cr4
    or eax, 1 << 11
    mov cr4, rax
    push qword USER_DATA_SEL
    push qword 0x18000
    push qword 2
    push qword USER_CODE64_SEL
    lea rax, [user]
    push rax
    iretq
user:
    sgdt [DATA]
