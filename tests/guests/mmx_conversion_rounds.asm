; CVTPD2PI from memory names no vector register, and still rounds as MXCSR says and tells it what happened.
; mode:    long64
; in:      mem64[0x20000]=0x3ff8000000000000 mem64[0x20008]=0xbff8000000000000
; out:     rax=0xffffffff00000002 mem32[0x20010]=0x5fa0
    mov dword [DATA + 0x10], 0x5f80
    ldmxcsr [DATA + 0x10]
    jmp short convert
convert:
    cvtpd2pi mm0, [DATA]
    movq rax, mm0
    jmp short store
store:
    stmxcsr [DATA + 0x10]
    hlt
