; needs:   ssse3 sse4_2
; mode:    long64
; in:      xmm0=0x0f0e0d0c0b0a09080706050403020100 xmm1=0x000102030405060708090a0b0c0d0e80
; out:     xmm0=0x000102030405060708090a0b0c0d0e00 rcx=3
    pshufb xmm0, xmm1
    mov rax, 0x6463626100
    movq xmm2, rax
    mov rax, 0x6362
    movq xmm3, rax
    mov eax, 2
    mov edx, 5
    pcmpestri xmm3, xmm2, 0x0c
    sub ecx, 2
    add ecx, 3
    hlt
