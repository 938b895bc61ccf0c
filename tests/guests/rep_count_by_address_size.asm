; A 32-bit address size uses ECX, and writing it clears the upper half of RCX.
; mode:    long64
; in:      rax=0x55 rdi=0x20000 rcx=0x100000002
; out:     rcx=0 rdi=0x20002 mem32[0x20000]=0x5555
    cld
    a32 rep stosb
    hlt
