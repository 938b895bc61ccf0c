; In ring 3 with IOPL 0 POPF changes neither IOPL nor IF, and does not fault.
; mode:    long64
; out:     trap=GP error=0 rax=0x240cd7
    push qword USER_DATA_SEL
    push qword 0x18000
    push qword 2
    push qword USER_CODE64_SEL
    lea rax, [user]
    push rax
    iretq
user:
    push qword 0x243ed7
    and qword [rsp], ~0x100
    popfq
    pushfq
    pop rax
    hlt
