; needs:   bmi1 bmi2
; mode:    long64
; in:      rax=0xf0f0 rbx=0xff00ff00 rcx=0x1234 rsi=0x0804
; out:     rdx=0x0f rdi=0x12003400 r8=0x10 r9=0xf0e0
    bextr edx, eax, esi
    and edx, 0xf
    bextr edx, eax, esi
    pdep edi, ecx, ebx
    blsi r8d, eax
    blsr r9d, eax
    hlt
