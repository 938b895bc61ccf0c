; Ring 3 may not halt: #GP(0), out of ring 3 with its own stack.
; mode:    long64
; out:     trap=GP error=0 rax=0x2b rbx=0x23
    push qword USER_DATA_SEL
    push qword 0x18000
    push qword 2
    push qword USER_CODE64_SEL
    lea rax, [user]
    push rax
    iretq
user:
    mov eax, cs
    mov ebx, ss
    hlt
