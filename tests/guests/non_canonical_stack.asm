; Through RSP it is #SS(0) rather than #GP.
; mode:    long64
; in:      rsp=0x10000 rbp=0x8000000000000000
; out:     trap=SS error=0 at=0x8000
    mov rax, [rbp]
    hlt
