; CLI in ring 3 with IOPL 0: #GP(0).
; mode:    long64
; out:     trap=GP error=0
    push qword USER_DATA_SEL
    push qword 0x18000
    push qword 2
    push qword USER_CODE64_SEL
    lea rax, [user]
    push rax
    iretq
user:
    cli
