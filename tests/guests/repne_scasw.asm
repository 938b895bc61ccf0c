; mode:    long64
; in:      rax=0x3333 rdi=0x20000 rcx=4 mem64[0x20000]=0x4444333322221111
; out:     rcx=1 rdi=0x20006 flags=ZF,PF
    cld
    repne scasw
    hlt
