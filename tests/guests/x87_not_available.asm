; CR0.TS: the first x87 instruction is #NM.
; mode:    long64
; out:     trap=NM at=0x800b
    mov rax, cr0
    or rax, 1 << 3
    mov cr0, rax
    nop
    fninit
    hlt
