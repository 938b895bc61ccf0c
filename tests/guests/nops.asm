; Hints and reserved NOPs do nothing.
; mode:    long64
; in:      rax=1 rbx=0x8000000000000000
; out:     rax=1
    pause
    endbr64
    prefetcht0 [rbx]
    prefetchw [rbx]
    nop dword [rbx]
    db 0x0f, 0x1d, 0xc0
    db 0xf3, 0x48, 0x0f, 0x1e, 0xc8
    lfence
    sfence
    mfence
    hlt
