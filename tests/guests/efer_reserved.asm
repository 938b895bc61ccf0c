; A reserved bit of EFER, and LME with paging on: #GP(0).
; mode:    long64
; out:     trap=GP error=0 efer=0xd01
    mov ecx, 0xc0000080
    rdmsr
    and eax, ~(1 << 8)
    wrmsr
