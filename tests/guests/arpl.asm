; ARPL raises the requested privilege, and says so in ZF.
; mode:    protected32
; in:      rax=0x40 rbx=3
; out:     rax=0x43 rcx=1 rdx=0
    arpl ax, bx
    setz cl
    arpl ax, bx
    setz dl
    movzx ecx, cl
    movzx edx, dl
    hlt
