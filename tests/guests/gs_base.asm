; SWAPGS, and addressing through GS.
; mode:    long64
; in:      mem32[0x20000]=0x1111 mem32[0x21000]=0x2222
; out:     rbx=0x1111 rsi=0x2222
    mov ecx, 0xc0000101
    mov eax, DATA
    xor edx, edx
    wrmsr
    inc ecx
    mov eax, DATA + 0x1000
    wrmsr
    mov ebx, [gs:0]
    swapgs
    mov esi, [gs:0]
    hlt
