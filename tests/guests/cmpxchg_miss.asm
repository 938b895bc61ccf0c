; mode:    long64
; in:      rax=1 rbx=0x20000 rcx=9 mem32[0x20000]=0x1234
; out:     rax=0x1234 mem32[0x20000]=0x1234 rdx=0
    lock cmpxchg [rbx], ecx
    setz dl
    movzx edx, dl
    hlt
