; needs:   avx
; mode:    long64
; in:      ymm1=0x2222222222222222222222222222222211111111111111111111111111111111
; out:     ymm1=0x2222222222222222222222222222222211111111111111111111111111111111
    mov eax, 7
    xor edx, edx
    lea rbx, [DATA]
    xsave [rbx]
    vpxor ymm1, ymm1, ymm1
    xrstor [rbx]
    hlt
