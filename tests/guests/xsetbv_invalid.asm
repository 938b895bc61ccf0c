; XCR0 with AVX and without SSE: #GP(0).
; needs:   avx
; mode:    long64
; out:     trap=GP error=0 rax=5
    xor ecx, ecx
    xor edx, edx
    mov eax, 5
    xsetbv
