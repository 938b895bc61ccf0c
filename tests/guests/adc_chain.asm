; Carry runs through a 128-bit addition.
; mode:    long64
; in:      rax=0xffffffffffffffff rdx=1 rbx=1 rcx=2
; out:     rax=0 rdx=4 flags=
    add rax, rbx
    adc rdx, rcx
    hlt
