; mode:    long64
; in:      rax=0xfffffffffffffff9 rdx=0xffffffffffffffff rbx=2
; out:     rax=0xfffffffffffffffd rdx=0xffffffffffffffff
    idiv rbx
    hlt
