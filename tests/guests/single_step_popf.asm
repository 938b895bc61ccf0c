; TF set by POPF traps after the next instruction; DR6.BS says why.
; mode:    long64
; out:     trap=DB at=0x800a rcx=1
    xor ecx, ecx
    push qword 0x102
    popfq
    inc ecx
    inc ecx
    hlt
