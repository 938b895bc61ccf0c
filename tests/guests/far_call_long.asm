; A far call through memory in 64-bit mode, and back with RETFQ.
; mode:    long64
; out:     rax=7 rcx=8 rsp=0x10000
    mov qword [DATA], target
    mov word [DATA + 8], CODE64_SEL
    o64 call far [DATA]
    hlt
target:
    mov eax, 7
    mov ecx, [rsp + 8]
    o64 retf
