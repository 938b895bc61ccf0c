; RDRAND says with CF that it worked, and clears the other status flags.
; needs:   rdrand
; mode:    long64
; out:     flags=CF
    xor eax, eax
    rdrand rax
    hlt
