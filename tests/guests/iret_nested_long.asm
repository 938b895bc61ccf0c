; IRET with NT set in long mode: #GP(0).
; mode:    long64
; out:     trap=GP error=0
    push qword 0x4002
    popfq
    iretq
