; mode:    long64
; in:      rax=0xffffffff rbx=2
; out:     rcx=0x100000001 rdx=1 rsi=1
    lea rcx, [rax + rbx]
    lea edx, [rax + rbx]
    lea rsi, [eax + ebx]
    hlt
