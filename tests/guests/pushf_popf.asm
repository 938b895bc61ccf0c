; mode:    long64
; out:     rax=0xcd7 rsp=0x10000
    push qword 0xcd5
    popfq
    pushfq
    pop rax
    cld
    hlt
