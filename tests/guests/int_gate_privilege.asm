; INT n out of ring 3 through a gate of ring 0: #GP(vector, IDT).
; mode:    long64
; out:     trap=GP error=0x40a
    push qword USER_DATA_SEL
    push qword 0x18000
    push qword 2
    push qword USER_CODE64_SEL
    lea rax, [user]
    push rax
    iretq
user:
    int 0x81
