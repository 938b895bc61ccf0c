; mode:    long64
; in:      rax=0x12345678 rbx=0x9abcdef0 rdx=0x12345678
; out:     rax=0x3456789a rdx=0xf0123456
    shld eax, ebx, 8
    shrd edx, ebx, 8
    hlt
